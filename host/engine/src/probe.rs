//! Looks at a component's imports and exports before anything of it runs.

use lunbox_contract::CONTRACT_VERSION;
use wasmtime::component::Component as Compiled;

use crate::Abilities;
use crate::load::LoadError;
use crate::text::one_line;
use crate::wasi;

/// Package of the contract.
const PACKAGE: &str = "lunbox:handler/";
/// Interfaces of the contract that a handler may import.
const GRANTED: [&str; 3] = ["buffers", "log", "types"];

/// The optional interfaces of a component, if it is a handler of this contract and wants no more than it may have.
pub(crate) fn abilities(compiled: &Compiled) -> Result<Abilities, LoadError> {
    let kind = compiled.component_type();
    let imports: Vec<&str> = kind.imports(compiled.engine()).map(|(name, _)| name).collect();
    let exports: Vec<&str> = kind.exports(compiled.engine()).map(|(name, _)| name).collect();
    judge(&imports, &exports)
}

fn judge(imports: &[&str], exports: &[&str]) -> Result<Abilities, LoadError> {
    // First, because another version may well have other interfaces.
    for name in imports.iter().chain(exports) {
        if let Some((_, version)) = of_contract(name)
            && version != CONTRACT_VERSION
        {
            return Err(LoadError::ContractVersion {
                built_for: one_line(version, 64),
                supported: CONTRACT_VERSION,
                remedy: "rebuild the handler with the SDK of this release, or load it into a Lunbox release of its own version",
            });
        }
    }
    for name in imports {
        let of_contract = of_contract(name).is_some_and(|(interface, _)| GRANTED.contains(&interface));
        if !of_contract && !wasi::provides(name) {
            return Err(LoadError::UngrantedImport { import: one_line(name, 200), remedy: remedy(name) });
        }
    }
    let has =
        |wanted: &str| exports.iter().any(|name| of_contract(name).is_some_and(|(found, _)| found == wanted));
    if !has("handler") {
        return Err(LoadError::MissingExport { export: "lunbox:handler/handler" });
    }
    let abilities = Abilities {
        block: has("block"),
        batch: has("block-batch"),
        cdb: has("cdb"),
        resize: has("resize"),
        unmap: has("block-unmap"),
        write_zeroes: has("block-write-zeroes"),
        compare_and_write: has("block-compare-and-write"),
        lba_status: has("block-lba-status"),
        state: has("state"),
        events: has("events"),
        options: has("options"),
    };
    if !abilities.block && !abilities.cdb {
        return Err(LoadError::MissingExport { export: "lunbox:handler/block or lunbox:handler/cdb" });
    }
    Ok(abilities)
}

/// Whether a component wants anything of WASI 0.2.
pub(crate) fn imports_wasi(compiled: &Compiled) -> bool {
    let kind = compiled.component_type();
    kind.imports(compiled.engine()).any(|(name, _)| wasi::provides(name))
}

/// Interface and version of a name that belongs to the contract.
fn of_contract(name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_prefix(PACKAGE)?;
    Some(rest.split_once('@').unwrap_or((rest, "")))
}

fn remedy(import: &str) -> &'static str {
    if import.starts_with("wasi:") {
        "of WASI there is version 0.2 of cli, clocks, filesystem, io, random and sockets; build for wasm32-wasip2 \
         instead of another wasm32-wasi* target, or for wasm32-unknown-unknown, which needs none of it"
    } else if import.starts_with(PACKAGE) {
        "handlers may import lunbox:handler/buffers and lunbox:handler/log only"
    } else {
        "handlers may import lunbox:handler/buffers and lunbox:handler/log only; remove the dependency that brings \
         this import in, or compose the component with one that provides it"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDLER: &str = "lunbox:handler/handler@0.1.0";
    const BLOCK: &str = "lunbox:handler/block@0.1.0";

    #[test]
    fn abilities_are_the_exported_interfaces() {
        let imports = [
            "lunbox:handler/types@0.1.0",
            "lunbox:handler/buffers@0.1.0",
            "lunbox:handler/log@0.1.0",
            "wasi:io/poll@0.2.9",
        ];
        let found = judge(&imports, &[HANDLER, BLOCK, "lunbox:handler/resize@0.1.0", "x:y/z@1.0.0"]).unwrap();
        assert_eq!(found, Abilities { block: true, resize: true, ..Abilities::default() });
    }

    #[test]
    fn other_imports_are_named_with_a_remedy() {
        let refused = |import: &str| match judge(&[import], &[HANDLER, BLOCK]) {
            Err(LoadError::UngrantedImport { import, remedy }) => (import, remedy),
            other => panic!("{other:?}"),
        };
        let (import, remedy) = refused("wasi:http/types@0.2.6");
        assert_eq!(import, "wasi:http/types@0.2.6");
        assert!(remedy.contains("wasm32-unknown-unknown"));
        assert!(refused("lunbox:handler/block@0.1.0").1.contains("buffers"));
        assert!(refused("env").1.contains("remove the dependency"));
    }

    #[test]
    fn another_version_is_told_before_anything_else() {
        let judged = judge(&["lunbox:handler/clock@0.2.0"], &["lunbox:handler/handler@0.2.0"]);
        assert!(matches!(judged, Err(LoadError::ContractVersion { built_for, .. }) if built_for == "0.2.0"));
        assert!(matches!(judge(&[], &["lunbox:handler/handler"]), Err(LoadError::ContractVersion { .. })));
    }

    #[test]
    fn a_handler_exports_handler_and_a_kind() {
        let missing = |exports: &[&str]| match judge(&[], exports) {
            Err(LoadError::MissingExport { export }) => export,
            other => panic!("{other:?}"),
        };
        assert_eq!(missing(&[BLOCK]), "lunbox:handler/handler");
        assert!(missing(&[HANDLER, "lunbox:handler/resize@0.1.0"]).contains("cdb"));
    }
}
