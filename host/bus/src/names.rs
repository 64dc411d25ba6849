//! The names of the service, as targetcli and libtcmu know them.

/// The bus name.
pub const NAME: &str = "org.kernel.TCMUService1";

/// The object whose children are the handlers.
pub(crate) const ROOT: &str = "/org/kernel/TCMUService1";

/// The interface of a handler. Of the same name as the service.
pub(crate) const HANDLER: &str = NAME;

/// Where external handlers are registered.
pub(crate) const MANAGER: &str = "/org/kernel/TCMUService1/HandlerManager1";

/// What bus names and object paths of external handlers begin with.
pub(crate) const EXTERNAL: &str = "org.kernel.TCMUService1.HandlerManager1";

/// The longest subtype. A handler's own is shorter; this one is for external handlers, whose bus name may have 255 bytes.
const MAX_SUBTYPE: usize = 64;

/// Whether a handler of this subtype can be shown: its name has to be an element of an object path (D-Bus Specification,
/// "Valid Object Paths": letters, digits, `_`), of 1 to 64 bytes, and none of the service's own. It is not escaped:
/// targetcli takes the element for the subtype.
#[must_use]
pub fn can_be_announced(subtype: &str) -> bool {
    let fits = (1..=MAX_SUBTYPE).contains(&subtype.len());
    fits && subtype.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && path(subtype) != MANAGER
}

/// The object of a handler.
pub(crate) fn path(subtype: &str) -> String {
    format!("{ROOT}/{subtype}")
}

/// The bus name that the program of an external handler has.
pub(crate) fn external_name(subtype: &str) -> String {
    format!("{EXTERNAL}.{subtype}")
}

/// The object that it answers at.
pub(crate) fn external_path(subtype: &str) -> String {
    format!("{MANAGER}/{subtype}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_element_of_an_object_path_can_be_announced() {
        for subtype in ["file", "zbc_2", "A9", "9p", &"a".repeat(64)] {
            assert!(can_be_announced(subtype), "{subtype}");
            assert!(zbus::ObjectPath::try_from(path(subtype)).is_ok(), "{subtype}");
        }
        for subtype in ["", "a-b", "a/b", "a.b", "ä", "a b", "a\0", "HandlerManager1", &"a".repeat(65)] {
            assert!(!can_be_announced(subtype), "{subtype:?}");
        }
    }
}
