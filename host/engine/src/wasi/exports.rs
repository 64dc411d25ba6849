//! The functions of one instance that imports WASI.
//!
//! Generated bindings call a function either synchronously or not; the ones in `bindings` do, for every other handler.
//! So the functions stand here by hand, with the generated types. Arguments are owned, because a call that can be
//! given up must not borrow from whoever makes it.

use lunbox_contract::CONTRACT_VERSION;
use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, Instance, Lift, Lower, TypedFunc};

use super::WasiContext;
use crate::Abilities;
use crate::bindings::exports::lunbox::handler::{block_unmap, cdb, events, handler, options};
use crate::bindings::lunbox::handler::types as wit;

type Func<Arguments, Result> = TypedFunc<Arguments, (Result,)>;
type Refusable<T> = Result<T, wit::ConfigError>;
/// Tag, offset, length, may unmap, durable.
type Zeroes = (wit::Tag, u64, u64, bool, bool);

/// Typed functions; an interface that is not exported has none.
pub(super) struct WasiExports {
    pub(super) describe: Func<(), handler::Description>,
    pub(super) configure: Func<(wit::DeviceConfig,), Refusable<wit::DeviceInfo>>,
    pub(super) resume: Func<(wit::Tag, wit::OpsResult), wit::Outcome>,
    pub(super) cancel: TypedFunc<(wit::Tag,), ()>,
    pub(super) block: Option<Func<(wit::BlockCommand,), wit::Outcome>>,
    pub(super) batch: Option<Func<(Vec<wit::BlockCommand>,), Vec<wit::Outcome>>>,
    pub(super) cdb: Option<Cdb>,
    pub(super) resize: Option<Func<(u64,), Refusable<()>>>,
    pub(super) unmap: Option<Unmap>,
    pub(super) write_zeroes: Option<Func<Zeroes, wit::Outcome>>,
    pub(super) compare_and_write: Option<Func<(wit::Tag, u64, u64, bool), wit::Outcome>>,
    pub(super) lba_status: Option<Func<(wit::Tag, u64, u64), wit::Outcome>>,
    pub(super) state: Option<State>,
    pub(super) notify: Option<TypedFunc<(events::Event, wit::StoreId), ()>>,
    pub(super) declare: Option<Func<(), options::Schema>>,
}

/// `cdb`.
pub(super) struct Cdb {
    pub(super) submit: Func<(cdb::Command,), wit::Outcome>,
    pub(super) submit_long: Func<(cdb::Command, Vec<u8>), wit::Outcome>,
}

/// `block-unmap`.
pub(super) struct Unmap {
    pub(super) limits: Func<(), Option<block_unmap::UnmapLimits>>,
    pub(super) unmap: Func<(wit::Tag, u64, u64), wit::Outcome>,
}

/// `state`.
pub(super) struct State {
    pub(super) save: Func<(), Result<Vec<u8>, String>>,
    pub(super) restore: Func<(Vec<u8>,), Result<(), String>>,
}

impl WasiExports {
    /// Looks up what `abilities` says is there. Fails if a function's type is not the contract's.
    pub(super) fn load(
        store: &mut Store<WasiContext>,
        instance: &Instance,
        abilities: Abilities,
    ) -> wasmtime::Result<Self> {
        let mut find = Finder { store, instance };
        Ok(Self {
            describe: find.function("handler", "describe")?,
            configure: find.function("handler", "configure")?,
            resume: find.function("handler", "resume")?,
            cancel: find.function("handler", "cancel")?,
            block: find.optional(abilities.block, "block", "submit")?,
            batch: find.optional(abilities.batch, "block-batch", "submit")?,
            cdb: if abilities.cdb {
                let submit = find.function("cdb", "submit")?;
                Some(Cdb { submit, submit_long: find.function("cdb", "submit-long")? })
            } else {
                None
            },
            resize: find.optional(abilities.resize, "resize", "resize")?,
            unmap: if abilities.unmap {
                let limits = find.function("block-unmap", "limits")?;
                Some(Unmap { limits, unmap: find.function("block-unmap", "unmap")? })
            } else {
                None
            },
            write_zeroes: find.optional(abilities.write_zeroes, "block-write-zeroes", "write-zeroes")?,
            compare_and_write: find.optional(
                abilities.compare_and_write,
                "block-compare-and-write",
                "compare-and-write",
            )?,
            lba_status: find.optional(abilities.lba_status, "block-lba-status", "lba-status")?,
            state: if abilities.state {
                let save = find.function("state", "save")?;
                Some(State { save, restore: find.function("state", "restore")? })
            } else {
                None
            },
            notify: find.optional(abilities.events, "events", "notify")?,
            declare: find.optional(abilities.options, "options", "declare")?,
        })
    }
}

/// Looks functions up by the contract's names.
struct Finder<'a> {
    store: &'a mut Store<WasiContext>,
    instance: &'a Instance,
}

impl Finder<'_> {
    fn function<A, R>(&mut self, interface: &str, function: &str) -> wasmtime::Result<TypedFunc<A, R>>
    where
        A: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let interface = format!("lunbox:handler/{interface}@{CONTRACT_VERSION}");
        let missing = || wasmtime::Error::msg(format!("{interface} has no function {function}"));
        let found = self.instance.get_export_index(&mut *self.store, None, &interface).ok_or_else(missing)?;
        let found =
            self.instance.get_export_index(&mut *self.store, Some(&found), function).ok_or_else(missing)?;
        self.instance.get_typed_func(&mut *self.store, found)
    }

    fn optional<A, R>(
        &mut self,
        there: bool,
        interface: &str,
        function: &str,
    ) -> wasmtime::Result<Option<TypedFunc<A, R>>>
    where
        A: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        there.then(|| self.function(interface, function)).transpose()
    }
}
