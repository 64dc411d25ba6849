//! Builds components and looks at what they import and export.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use wasmparser::{ComponentTypeRef, Encoding, Parser, Payload};

/// What a component wants and offers at its outside.
#[derive(Debug, Default)]
struct Surface {
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
    bytes: usize,
}

/// The target directory that this test was built in: there the components are often ready.
fn target_dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("tmp lies in the target directory").to_owned()
}

/// Builds with these arguments and reads `target/wasm32-unknown-unknown/guest/<file>`.
fn component(arguments: &[&str], file: &str) -> Surface {
    // Named where this toolchain lacks the Wasm target and `cargo xtask` has found another compiler.
    let cargo = std::env::var_os("LUNBOX_WASM_CARGO").unwrap_or_else(|| env!("CARGO").into());
    let output = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--target",
            "wasm32-unknown-unknown",
            "--profile",
            "guest",
            "--target-dir",
        ])
        .arg(target_dir())
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "building {file} failed; if the target is missing, run `rustup target add wasm32-unknown-unknown`:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let path = target_dir().join("wasm32-unknown-unknown/guest").join(file);
    let bytes = std::fs::read(&path).expect("cargo has just built it");
    surface(&bytes)
}

fn surface(bytes: &[u8]) -> Surface {
    assert_eq!(bytes.get(..8), Some(&b"\0asm\x0d\0\x01\0"[..]), "a component, not a core module");
    let mut surface = Surface { bytes: bytes.len(), ..Surface::default() };
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.expect("well-formed") {
            Payload::Version { encoding, .. } => {
                depth += 1;
                assert!(depth > 1 || encoding == Encoding::Component);
            }
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    let import = import.expect("well-formed");
                    assert!(
                        matches!(import.ty, ComponentTypeRef::Instance(_)),
                        "only interfaces are imported"
                    );
                    surface.imports.insert(import.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    surface.exports.insert(export.expect("well-formed").name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    surface
}

fn names(interfaces: &[&str]) -> BTreeSet<String> {
    interfaces.iter().map(|name| format!("lunbox:handler/{name}@0.1.0")).collect()
}

fn check(component: &Surface, exports: &[&str]) {
    assert_eq!(component.exports, names(exports));
    let allowed = names(&["types", "buffers", "log"]);
    assert!(component.imports.is_subset(&allowed), "{:?}", component.imports);
}

#[test]
fn a_component_exports_the_abilities_that_its_handler_names_and_no_others() {
    let file = component(&["-p", "lunbox-handler-file"], "lunbox_handler_file.wasm");
    let thin_file = [
        "handler",
        "block",
        "block-batch",
        "resize",
        "block-unmap",
        "block-write-zeroes",
        "block-lba-status",
    ];
    check(&file, &thin_file);
    assert!(file.bytes <= 60 * 1024, "{} bytes", file.bytes);

    let null = component(&["-p", "lunbox-example-null"], "lunbox_example_null.wasm");
    check(&null, &["handler", "block", "block-batch", "block-unmap", "block-write-zeroes"]);
    assert!(null.bytes <= 60 * 1024, "{} bytes", null.bytes);

    let mirror = component(&["-p", "lunbox-example-mirror"], "lunbox_example_mirror.wasm");
    let thin_mirror = [
        "handler",
        "block",
        "block-batch",
        "options",
        "block-unmap",
        "block-write-zeroes",
        "block-lba-status",
    ];
    check(&mirror, &thin_mirror);
    assert!(mirror.bytes <= 80 * 1024, "{} bytes", mirror.bytes);

    let hostile = component(&["-p", "lunbox-test-hostile"], "lunbox_test_hostile.wasm");
    check(&hostile, &["handler", "block", "block-batch", "resize"]);
    assert!(hostile.imports.is_superset(&names(&["buffers"])), "it calls take and put");

    let thin = component(&["-p", "lunbox-sdk", "--example", "thin"], "examples/thin.wasm");
    let all = [
        "handler",
        "block",
        "block-batch",
        "cdb",
        "resize",
        "block-unmap",
        "block-write-zeroes",
        "block-compare-and-write",
        "block-lba-status",
        "state",
        "events",
        "options",
    ];
    check(&thin, &all);
}
