//! What a file consists of, found without compiling or running it. A file that can not be loaded can be looked into
//! as far as it is sound.

use serde::Serialize;
use wasmparser::{ComponentTypeRef, Encoding, Parser, Payload};

/// Beginning of the engine's container for compiled code; its version is the engine's business.
const PRECOMPILED: &[u8] = b"lunboxC";

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Form {
    /// A WebAssembly component.
    Component,
    /// A core module.
    Module,
    /// Compiled by Lunbox.
    Precompiled,
    /// Something else.
    Unknown,
}

impl Form {
    /// For people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Component => "a WebAssembly component",
            Self::Module => "a core WebAssembly module",
            Self::Precompiled => "a precompiled handler",
            Self::Unknown => "no WebAssembly",
        }
    }
}

/// The outside of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Structure {
    pub(super) form: Form,
    /// Names of imported interfaces, in the file's order.
    pub(super) imports: Vec<String>,
    /// Names of exported interfaces, in the file's order.
    pub(super) exports: Vec<String>,
    /// Bytes.
    pub(super) memory_minimum: u64,
}

impl Structure {
    /// Looks at a file. What stands behind the first damage is not seen.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut found =
            Self { form: Form::Unknown, imports: Vec::new(), exports: Vec::new(), memory_minimum: 0 };
        if bytes.starts_with(PRECOMPILED) {
            found.form = Form::Precompiled;
            return found;
        }
        // Modules and components inside of the component have imports and exports of their own.
        let mut depth = 0u32;
        for payload in Parser::new(0).parse_all(bytes) {
            let Ok(payload) = payload else { break };
            match payload {
                Payload::Version { encoding, .. } => {
                    depth += 1;
                    if depth == 1 {
                        found.form = match encoding {
                            Encoding::Component => Form::Component,
                            Encoding::Module => Form::Module,
                        };
                    }
                }
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 1 => {
                    let named = section.into_iter().map_while(Result::ok);
                    let named = named.filter(|import| !matches!(import.ty, ComponentTypeRef::Type(..)));
                    found.imports.extend(named.map(|import| import.name.name.to_owned()));
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    let named = section.into_iter().map_while(Result::ok);
                    found.exports.extend(named.map(|export| export.name.name.to_owned()));
                }
                Payload::MemorySection(section) => {
                    for memory in section.into_iter().map_while(Result::ok) {
                        let page = 1u64.checked_shl(memory.page_size_log2.unwrap_or(16)).unwrap_or(u64::MAX);
                        let bytes = memory.initial.saturating_mul(page);
                        found.memory_minimum = found.memory_minimum.saturating_add(bytes);
                    }
                }
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_told_apart() {
        let form = |bytes: &[u8]| Structure::of(bytes).form;
        assert_eq!(form(b"\0asm\x0d\0\x01\0"), Form::Component);
        assert_eq!(form(b"\0asm\x01\0\0\0"), Form::Module);
        assert_eq!(form(b"lunboxC2rest"), Form::Precompiled);
        for bytes in [&b""[..], b"\0asm", b"\x7fELF", b"(component)"] {
            assert_eq!(form(bytes), Form::Unknown, "{bytes:?}");
        }
    }

    #[test]
    fn damage_ends_the_look_and_nothing_else() {
        // A component section of kind 10 (imports) that says it has bytes that are not there.
        let found = Structure::of(b"\0asm\x0d\0\x01\0\x0a\x7f\x01");
        assert_eq!((found.form, found.imports.len()), (Form::Component, 0));
    }

    #[test]
    fn the_memory_of_a_module_is_counted_in_pages() {
        // Section 5 with 7 bytes: two memories, of 3 pages, and of 1 to 2 pages.
        let found = Structure::of(b"\0asm\x01\0\0\0\x05\x06\x02\x00\x03\x01\x01\x02");
        assert_eq!(found.memory_minimum, 4 * 65536);
    }
}
