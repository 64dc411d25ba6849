//! The name of a TCM-User device as the kernel writes it into the UIO node and into netlink events:
//! `tcm-user/<hba index>/<device>/<subtype>/<config>`.

use std::fmt;

/// What every name of this family begins with.
const FAMILY: &str = "tcm-user";

/// Number that the kernel gives to a device for as long as it lives (`statistics/scsi_dev/indx` in configfs,
/// attribute 8 of netlink events). Not used again before the 31-bit counter has wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub u32);

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a UIO node: the `3` of `/dev/uio3`. Used again as soon as the node has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minor(pub u32);

impl fmt::Display for Minor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uio{}", self.0)
    }
}

/// A parsed device name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeviceName {
    /// Index of the host bus adapter: the `0` of `user_0` in configfs.
    pub hba: u32,
    /// Name of the device in configfs; no `/`, never `.` or `..`.
    pub device: String,
    /// Text of `dev_config` before its first `/`: who handles the device. Compare it exactly.
    pub subtype: String,
    /// Text of `dev_config` after its first `/`; may be empty and may hold further `/`.
    pub config: String,
}

/// Why a UIO name is not the name of a usable TCM-User device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The node belongs to some other driver.
    #[error("not a TCM-User device: {name:?} does not begin with tcm-user/")]
    Foreign {
        /// The whole name.
        name: String,
    },
    /// The kernel takes any bytes, but what is shown with replacement characters can not be found again.
    #[error(
        "device name {name:?} is not UTF-8; write the device's name and dev_config in UTF-8 (most simply: ASCII)"
    )]
    NotUtf8 {
        /// The whole name, with U+FFFD in the place of what could not be read.
        name: String,
    },
    /// The second part is not a number.
    #[error("device name {name:?}: the HBA index {index:?} is not a number")]
    Hba {
        /// The whole name.
        name: String,
        /// What stands there.
        index: String,
    },
    /// The third part is missing or could not be a directory of configfs.
    #[error("device name {name:?}: the device part {device:?} is not a name")]
    Device {
        /// The whole name.
        name: String,
        /// What stands there.
        device: String,
    },
    /// Nobody can tell whose device it is.
    #[error(
        "device name {name:?} has no subtype: write dev_config=<subtype>/<config> to the device's control \
         before it is enabled"
    )]
    NoSubtype {
        /// The whole name.
        name: String,
    },
}

impl DeviceName {
    /// Takes a name apart. White space is part of the name, except for one newline at the end (sysfs).
    ///
    /// # Errors
    /// Names the part that is wrong; see [`NameError`].
    pub fn parse(name: &str) -> Result<Self, NameError> {
        let name = name.strip_suffix('\n').unwrap_or(name);
        let whole = || name.to_owned();
        let mut parts = name.splitn(4, '/');
        if parts.next() != Some(FAMILY) {
            return Err(NameError::Foreign { name: whole() });
        }
        if name.contains(char::REPLACEMENT_CHARACTER) {
            return Err(NameError::NotUtf8 { name: whole() });
        }
        let Some(index) = parts.next() else {
            return Err(NameError::Foreign { name: whole() });
        };
        // `u32::from_str` would take a leading plus sign, the kernel never writes one.
        let hba = index
            .parse()
            .ok()
            .filter(|_| index.bytes().all(|byte| byte.is_ascii_digit()))
            .ok_or_else(|| NameError::Hba { name: whole(), index: index.to_owned() })?;
        let device = parts.next().unwrap_or_default();
        if matches!(device, "" | "." | "..") {
            return Err(NameError::Device { name: whole(), device: device.to_owned() });
        }
        let dev_config = parts.next().unwrap_or_default();
        let (subtype, config) = dev_config.split_once('/').unwrap_or((dev_config, ""));
        if subtype.is_empty() {
            return Err(NameError::NoSubtype { name: whole() });
        }
        Ok(Self { hba, device: device.to_owned(), subtype: subtype.to_owned(), config: config.to_owned() })
    }
}

/// `user_<hba>/<device>`: where configfs keeps the device, and how operators know it. `{:#}` is the whole name, as the
/// kernel writes it; the log makes its prefix from that.
impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return write!(f, "{FAMILY}/{}/{}/{}/{}", self.hba, self.device, self.subtype, self.config);
        }
        write!(f, "user_{}/{}", self.hba, self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(hba: u32, device: &str, subtype: &str, config: &str) -> DeviceName {
        DeviceName { hba, device: device.into(), subtype: subtype.into(), config: config.into() }
    }

    #[test]
    fn names_of_devices_are_taken_apart() {
        let cases = [
            ("tcm-user/0/f1/file//tmp/f1.raw", name(0, "f1", "file", "/tmp/f1.raw")),
            ("tcm-user/12/disk-1/zbc/zones-10@/x\n", name(12, "disk-1", "zbc", "zones-10@/x")),
            ("tcm-user/0/n/null", name(0, "n", "null", "")),
            ("tcm-user/0/n/null/", name(0, "n", "null", "")),
            ("tcm-user/0/a b/file// with blanks ", name(0, "a b", "file", "/ with blanks ")),
        ];
        for (text, expected) in cases {
            assert_eq!(DeviceName::parse(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn a_wrong_name_is_refused_naming_the_part() {
        let foreign = |name: &str| NameError::Foreign { name: name.into() };
        assert_eq!(DeviceName::parse("igb_uio"), Err(foreign("igb_uio")));
        assert_eq!(DeviceName::parse("tcm-user"), Err(foreign("tcm-user")));
        assert_eq!(DeviceName::parse("tcm-userx/0/f/file/"), Err(foreign("tcm-userx/0/f/file/")));
        for index in ["", "x", "+1", "-1", "4294967296"] {
            let text = format!("tcm-user/{index}/f/file/");
            let expected = NameError::Hba { name: text.clone(), index: index.into() };
            assert_eq!(DeviceName::parse(&text), Err(expected));
        }
        for device in ["", ".", ".."] {
            let text = format!("tcm-user/0/{device}/file/x");
            let expected = NameError::Device { name: text.clone(), device: device.into() };
            assert_eq!(DeviceName::parse(&text), Err(expected));
        }
        for text in ["tcm-user/0/f", "tcm-user/0/f/", "tcm-user/0/f//x"] {
            assert_eq!(DeviceName::parse(text), Err(NameError::NoSubtype { name: text.into() }));
        }
    }

    #[test]
    fn a_name_that_is_not_utf8_is_refused_and_not_guessed() {
        let name = String::from_utf8_lossy(b"tcm-user/0/f1/file//disks/\xff\xfe").into_owned();
        assert_eq!(DeviceName::parse(&name), Err(NameError::NotUtf8 { name: name.clone() }));
        let foreign = String::from_utf8_lossy(b"other\xff").into_owned();
        assert!(
            matches!(DeviceName::parse(&foreign), Err(NameError::Foreign { .. })),
            "none of our business"
        );
    }

    #[test]
    fn a_name_shows_as_its_place_in_configfs() {
        let name = name(3, "disk", "file", "/x");
        assert_eq!(name.to_string(), "user_3/disk");
        assert_eq!(DeviceName::parse(&format!("{name:#}")), Ok(name));
    }
}
