//! How operators name devices.

use crate::message::{Code, Refusal};

/// Names that are told when none fits; more would only scroll away.
const TOLD: usize = 8;

/// Finds the device that is meant among `(name in configfs, value)`. Understood are `user_0/disk` as in configfs, with
/// the whole path before it if need be, `tcm-user/0/disk` as the UIO node has it (what follows the device is
/// skipped), and `disk` if only one device is called that.
///
/// # Errors
/// [`Code::NoSuchDevice`] if none or several fit, naming what there is.
pub fn find_device<'a, T>(
    asked: &str,
    devices: impl IntoIterator<Item = (&'a str, T)>,
) -> Result<T, Refusal> {
    let meant = meant(asked);
    let (mut found, mut others): (Vec<(&str, T)>, Vec<&str>) = (Vec::new(), Vec::new());
    for (name, value) in devices {
        let fits = match &meant {
            Meant::Exactly(wanted) => name == wanted,
            Meant::Called(wanted) => name.split_once('/').is_some_and(|(_, device)| device == wanted),
        };
        if fits {
            found.push((name, value));
        } else {
            others.push(name);
        }
    }
    match (found.len(), found.pop()) {
        (1, Some((_, value))) => Ok(value),
        (_, Some((last, _))) => {
            let names = found.iter().map(|(name, _)| *name).chain([last]).collect();
            let message = format!("several devices are called {asked:?}: {}; name one of them", some(names));
            Err(Refusal::new(Code::NoSuchDevice, message))
        }
        (_, None) => {
            let there = if others.is_empty() { "no device".to_owned() } else { some(others) };
            let message = format!("there is no device {asked:?}; there is: {there} (lunbox device list)");
            Err(Refusal::new(Code::NoSuchDevice, message))
        }
    }
}

enum Meant {
    /// A name in configfs.
    Exactly(String),
    /// The device's part of it.
    Called(String),
}

fn meant(asked: &str) -> Meant {
    let asked = asked.trim_end_matches('/');
    if let Some(rest) = asked.strip_prefix("tcm-user/") {
        let mut parts = rest.splitn(3, '/');
        if let (Some(hba), Some(device)) = (parts.next(), parts.next()) {
            return Meant::Exactly(format!("user_{hba}/{device}"));
        }
    }
    let asked = asked.strip_prefix("/sys/kernel/config/target/core/").unwrap_or(asked);
    if asked.contains('/') { Meant::Exactly(asked.to_owned()) } else { Meant::Called(asked.to_owned()) }
}

fn some(names: Vec<&str>) -> String {
    let more = names.len().saturating_sub(TOLD);
    let told = names.into_iter().take(TOLD).collect::<Vec<_>>().join(", ");
    if more == 0 { told } else { format!("{told} and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICES: [(&str, u32); 3] = [("user_0/disk", 1), ("user_1/disk", 2), ("user_1/other", 3)];

    #[test]
    fn all_spellings_find_the_same() {
        for asked in [
            "user_1/disk",
            "user_1/disk/",
            "tcm-user/1/disk",
            "tcm-user/1/disk/file//srv/x",
            "/sys/kernel/config/target/core/user_1/disk",
        ] {
            assert_eq!(find_device(asked, DEVICES), Ok(2), "{asked}");
        }
        assert_eq!(find_device("other", DEVICES), Ok(3));
    }

    #[test]
    fn what_does_not_name_one_device_is_refused_with_what_there_is() {
        let refused = |asked: &str| find_device(asked, DEVICES).unwrap_err().message;
        assert!(refused("disk").contains("user_0/disk, user_1/disk; name one"), "{}", refused("disk"));
        for asked in ["", "/", "user_0", "user_0/", "tcm-user/", "tcm-user/0", "user_9/disk", "nothing"] {
            assert!(refused(asked).contains("there is: user_0/disk, user_1/disk"), "{}", refused(asked));
        }
        let none = find_device("x", std::iter::empty::<(&str, ())>()).unwrap_err();
        assert!(none.message.contains("there is: no device"), "{none}");
        let names: Vec<String> = (0..500).map(|number| format!("user_0/d{number}")).collect();
        let many = find_device("x", names.iter().map(|name| (name.as_str(), ()))).unwrap_err();
        assert!(many.message.ends_with("and 492 more (lunbox device list)"), "{many}");
    }
}
