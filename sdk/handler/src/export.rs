//! The macro that turns a handler type into a component.

/// Makes a component's exports of a handler type: `export_handler!(MyHandler: block, resize);`
///
/// After the colon stand the handler's kinds and abilities, each of which names a trait that the type implements:
/// `block` ([`Block`](crate::Block)), `cdb` ([`Cdb`](crate::Cdb)), `resize` ([`Resize`](crate::Resize)),
/// `block_unmap` ([`BlockUnmap`](crate::BlockUnmap)), `block_write_zeroes`
/// ([`BlockWriteZeroes`](crate::BlockWriteZeroes)), `block_compare_and_write`
/// ([`BlockCompareAndWrite`](crate::BlockCompareAndWrite)), `block_lba_status`
/// ([`BlockLbaStatus`](crate::BlockLbaStatus)), `state` ([`State`](crate::State)), `events`
/// ([`Events`](crate::Events)), `options` ([`Options`](crate::Options)). At least one of `block` and `cdb` must be among them. An ability that is not named
/// is not exported, even if the trait is implemented.
///
/// Exports are made for Wasm targets only: elsewhere nobody would call them, and native tests would not link. There
/// the macro checks the traits. Use it once in a crate.
///
/// ```compile_fail
/// # use lunbox_sdk::*;
/// # struct Kindless;
/// # impl Handler for Kindless {
/// #     fn describe() -> Description { panic!("never called") }
/// #     fn configure(_: &DeviceConfig) -> Result<(Self, DeviceInfo), ConfigError> { panic!("never called") }
/// # }
/// # impl Resize for Kindless {
/// #     fn resize(&mut self, _: u64) -> Result<(), ConfigError> { Ok(()) }
/// # }
/// export_handler!(Kindless: resize); // neither block nor cdb
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_handler {
    ($handler:ty : $($ability:ident),+ $(,)?) => {
        const _: () = {
            const KINDS: usize = 0 $(+ $crate::__ability!(is_kind $ability))+;
            assert!(KINDS > 0, "export_handler!: name `block` or `cdb` among the abilities");
            $($crate::__ability!(check $ability $handler);)+
        };

        #[cfg(target_family = "wasm")]
        const _: () = {
            ::std::thread_local! {
                // Components have one thread: this is a plain static.
                static HANDLER: ::std::cell::RefCell<::std::option::Option<$handler>> =
                    const { ::std::cell::RefCell::new(::std::option::Option::None) };
            }

            struct Place;
            impl $crate::wasm::Place for Place {
                type Handler = $handler;
                fn with<R>(
                    work: impl FnOnce(&::std::cell::RefCell<::std::option::Option<$handler>>) -> R,
                ) -> R {
                    HANDLER.with(work)
                }
            }

            type Component = $crate::wasm::Component<Place>;
            $crate::wasm::bindings::base::export_base!(
                Component with_types_in $crate::wasm::bindings::base
            );
            $($crate::__ability!(export $ability Component);)+
        };
    };
}

/// What [`export_handler!`] does for one kind or ability.
#[doc(hidden)]
#[macro_export]
macro_rules! __ability {
    (is_kind block) => { 1 };
    (is_kind cdb) => { 1 };
    (is_kind $other:ident) => { 0 };

    (check block $handler:ty) => { $crate::__ability!(implements $handler, Block); };
    (check cdb $handler:ty) => { $crate::__ability!(implements $handler, Cdb); };
    (check resize $handler:ty) => { $crate::__ability!(implements $handler, Resize); };
    (check block_unmap $handler:ty) => { $crate::__ability!(implements $handler, BlockUnmap); };
    (check block_write_zeroes $handler:ty) => { $crate::__ability!(implements $handler, BlockWriteZeroes); };
    (check block_compare_and_write $handler:ty) => {
        $crate::__ability!(implements $handler, BlockCompareAndWrite);
    };
    (check block_lba_status $handler:ty) => { $crate::__ability!(implements $handler, BlockLbaStatus); };
    (check state $handler:ty) => { $crate::__ability!(implements $handler, State); };
    (check events $handler:ty) => { $crate::__ability!(implements $handler, Events); };
    (check options $handler:ty) => { $crate::__ability!(implements $handler, Options); };
    (check $other:ident $handler:ty) => {
        compile_error!(concat!(
            "export_handler!: unknown ability `", stringify!($other), "`; known are block, cdb, resize, ",
            "block_unmap, block_write_zeroes, block_compare_and_write, block_lba_status, state, events, options"
        ));
    };
    (implements $handler:ty, $trait:ident) => {
        const _: () = {
            const fn implements<H: $crate::$trait>() {}
            implements::<$handler>();
        };
    };

    // A batch is a loop over single commands, so every block handler has it.
    (export block $component:ident) => {
        $crate::wasm::bindings::block::export_ability!(
            $component with_types_in $crate::wasm::bindings::block
        );
        $crate::wasm::bindings::block_batch::export_ability!(
            $component with_types_in $crate::wasm::bindings::block_batch
        );
    };
    (export $ability:ident $component:ident) => {
        $crate::wasm::bindings::$ability::export_ability!(
            $component with_types_in $crate::wasm::bindings::$ability
        );
    };
}
