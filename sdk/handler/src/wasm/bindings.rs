//! Generated from `wit/handler.wit`: one world for what every handler has and one for each kind and ability. A
//! world takes part in a component only if its export macro is used; `wasm-component-ld` merges them.

// The canonical ABI passes addresses: generated code can not do without.
#![allow(unsafe_code, unsafe_op_in_unsafe_fn)]
#![allow(clippy::all, clippy::pedantic, clippy::restriction)]

pub mod base {
    wit_bindgen::generate!({
        world: "base",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export_base",
        default_bindings_module: "lunbox_sdk::wasm::bindings::base",
        generate_all,
    });
}

/// The worlds that use shared types take those of `base`, so that one conversion serves them all.
macro_rules! ability {
    ($module:ident, $world:literal $(, $with:tt)?) => {
        pub mod $module {
            wit_bindgen::generate!({
                world: $world,
                path: "../../wit",
                pub_export_macro: true,
                export_macro_name: "export_ability",
                default_bindings_module: "lunbox_sdk::wasm::bindings",
                $(with: $with,)?
            });
        }
    };
}

/// The same for worlds with types of `base`.
macro_rules! ability_with_types {
    ($module:ident, $world:literal) => {
        ability!($module, $world, {
            "lunbox:handler/types@0.1.0": crate::wasm::bindings::base::lunbox::handler::types
        });
    };
}

ability_with_types!(block, "with-block");
ability_with_types!(block_batch, "with-block-batch");
ability_with_types!(cdb, "with-cdb");
ability_with_types!(resize, "with-resize");
ability_with_types!(block_unmap, "with-block-unmap");
ability_with_types!(block_write_zeroes, "with-block-write-zeroes");
ability_with_types!(block_compare_and_write, "with-block-compare-and-write");
ability_with_types!(block_lba_status, "with-block-lba-status");
ability!(state, "with-state");
ability_with_types!(events, "with-events");
ability!(options, "with-options");
