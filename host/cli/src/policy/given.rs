//! Devices on the command line that need not exist.

use std::str::FromStr;

/// `3/disk=file//srv/disk`: a device as configfs would have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenDevice {
    /// The 3 of `user_3`.
    pub hba: u32,
    /// Its name in configfs.
    pub name: String,
    /// `<subtype>/<config>`.
    pub config: String,
}

/// Why a text names no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GivenDeviceError {
    /// No `=`, or not enough slashes.
    #[error("write HBA/NAME=SUBTYPE/CONFIG, such as 3/disk=file//srv/disk")]
    Malformed,
    /// The HBA is no number.
    #[error("{0:?} is no HBA; write the 3 of user_3")]
    Hba(String),
}

impl GivenDevice {
    /// Text before the first slash of the configuration.
    #[must_use]
    pub fn subtype(&self) -> &str {
        self.config.split('/').next().unwrap_or_default()
    }
}

impl FromStr for GivenDevice {
    type Err = GivenDeviceError;

    fn from_str(text: &str) -> Result<Self, GivenDeviceError> {
        let (device, config) = text.split_once('=').ok_or(GivenDeviceError::Malformed)?;
        let (hba, name) = device.split_once('/').ok_or(GivenDeviceError::Malformed)?;
        let number = hba.strip_prefix("user_").unwrap_or(hba);
        let hba = number.parse().map_err(|_| GivenDeviceError::Hba(hba.to_owned()))?;
        if name.is_empty() || name.contains('/') || config.starts_with('/') || !config.contains('/') {
            return Err(GivenDeviceError::Malformed);
        }
        Ok(Self { hba, name: name.to_owned(), config: config.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_understood_or_refused() {
        let device: GivenDevice = "3/disk=file//srv/a=b".parse().unwrap();
        assert_eq!((device.hba, device.name.as_str(), device.config.as_str()), (3, "disk", "file//srv/a=b"));
        assert_eq!(device.subtype(), "file");
        assert_eq!("user_3/disk=file//srv/a=b".parse(), Ok(device));
        for text in
            ["", "disk", "3/disk", "3/disk=file", "disk=file//x", "3/=file//x", "3/a/b=file//x", "3/a=/srv"]
        {
            assert_eq!(text.parse::<GivenDevice>(), Err(GivenDeviceError::Malformed), "{text}");
        }
        assert_eq!("x/disk=file//x".parse::<GivenDevice>(), Err(GivenDeviceError::Hba("x".to_owned())));
    }
}
