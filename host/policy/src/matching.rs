//! Which devices a tenant has.

use std::fmt;

use glob::Pattern;

/// A device fits if all that is given fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Match {
    /// Number of the HBA: the 3 of `user_3`.
    pub(crate) hba: Option<u32>,
    /// Pattern of the device's name.
    pub(crate) device: Option<Pattern>,
    /// Pattern of `<subtype>/<config>`. Here `*` stands for slashes, too: a disk that somebody puts a directory deeper
    /// stays with its tenant.
    pub(crate) config: Option<Pattern>,
}

impl Match {
    pub(crate) fn fits(&self, hba: u32, device: &str, config: &str) -> bool {
        self.hba.is_none_or(|wanted| wanted == hba)
            && self.device.as_ref().is_none_or(|pattern| pattern.matches(device))
            && self.config.as_ref().is_none_or(|pattern| pattern.matches(config))
    }

    /// Whether everything that fits `other` fits this, as far as it is plain to see: `false` proves nothing.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.hba.is_none_or(|wanted| other.hba == Some(wanted))
            && pattern_covers(self.device.as_ref(), other.device.as_ref())
            && pattern_covers(self.config.as_ref(), other.config.as_ref())
    }
}

fn pattern_covers(wide: Option<&Pattern>, narrow: Option<&Pattern>) -> bool {
    let Some(wide) = wide else { return true };
    if wide.as_str() == "*" {
        return true;
    }
    let Some(narrow) = narrow else { return false };
    if wide == narrow {
        return true;
    }
    let literal = literal_prefix(narrow.as_str());
    if literal == narrow.as_str() {
        return wide.matches(literal);
    }
    let beginning = wide.as_str().strip_suffix('*');
    beginning.is_some_and(|start| literal_prefix(start) == start && literal.starts_with(start))
}

/// What a pattern's matches begin with.
pub(crate) fn literal_prefix(pattern: &str) -> &str {
    pattern.split(['*', '?', '[']).next().unwrap_or_default()
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hba = self.hba.map(|hba| format!("hba = {hba}"));
        let device = self.device.as_ref().map(|pattern| format!("device = \"{pattern}\""));
        let config = self.config.as_ref().map(|pattern| format!("config = \"{pattern}\""));
        write!(f, "{{ {} }}", [hba, device, config].into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(hba: Option<u32>, device: &str, config: &str) -> Match {
        let pattern = |text: &str| (!text.is_empty()).then(|| Pattern::new(text).unwrap());
        Match { hba, device: pattern(device), config: pattern(config) }
    }

    #[test]
    fn all_that_is_given_must_fit() {
        let all = entry(Some(3), "acme-*", "file//srv/acme/*");
        assert!(all.fits(3, "acme-1", "file//srv/acme/disk"));
        assert!(all.fits(3, "acme-1", "file//srv/acme/deeper/.disk"));
        assert!(!all.fits(2, "acme-1", "file//srv/acme/disk"));
        assert!(!all.fits(3, "acme", "file//srv/acme/disk"));
        assert!(!all.fits(3, "acme-1", "zbc//srv/acme/disk"));
        assert!(entry(Some(3), "", "").fits(3, "x", "y"));
        assert!(!entry(None, "ACME", "").fits(3, "acme", ""), "case counts");
    }

    #[test]
    fn what_is_covered_can_be_told() {
        for (wide, narrow, covers) in [
            (entry(Some(3), "", ""), entry(Some(3), "a", ""), true),
            (entry(Some(3), "", ""), entry(Some(4), "a", ""), false),
            (entry(Some(3), "", ""), entry(None, "a", ""), false),
            (entry(None, "acme-*", ""), entry(Some(1), "acme-web-*", "x"), true),
            (entry(None, "acme-*", ""), entry(None, "acme*", ""), false),
            (entry(None, "a?c", ""), entry(None, "abc", ""), true),
            (entry(None, "a?c", ""), entry(None, "a[bx]c", ""), false),
            (entry(None, "*", ""), entry(None, "", "file/*"), true),
            (entry(None, "x*", ""), entry(None, "", "file/*"), false),
            (entry(None, "", "file/*"), entry(None, "", "file//srv/**/x"), true),
        ] {
            assert_eq!(wide.covers(&narrow), covers, "{wide} and {narrow}");
            assert!(wide.covers(&wide) && narrow.covers(&narrow));
        }
    }
}
