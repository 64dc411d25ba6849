//! Reading sense data (SPC-4 4.5). Written apart from the code that the daemon builds sense with, so that one
//! checks the other.

/// Sense data as far as tests look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParsedSense {
    /// SENSE KEY.
    pub key: u8,
    /// ADDITIONAL SENSE CODE.
    pub asc: u8,
    /// ADDITIONAL SENSE CODE QUALIFIER.
    pub ascq: u8,
    /// INFORMATION, when marked valid.
    pub information: Option<u64>,
    /// The three sense-key-specific bytes, when marked valid (SKSV): field pointer or progress.
    pub specific: Option<[u8; 3]>,
    /// About an earlier command.
    pub deferred: bool,
}

impl ParsedSense {
    /// Reads fixed (70h, 71h) and descriptor (72h, 73h) format. None for any other response code, for zeros, and
    /// for lengths that do not add up.
    #[must_use]
    pub fn parse(sense: &[u8]) -> Option<Self> {
        match sense.first()? & 0x7f {
            code @ (0x70 | 0x71) => Self::fixed(sense, code == 0x71),
            code @ (0x72 | 0x73) => Self::descriptors(sense, code == 0x73),
            _ => None,
        }
    }

    /// SPC-4 4.5.3. Fields behind the additional length are not there.
    fn fixed(sense: &[u8], deferred: bool) -> Option<Self> {
        let end = 8 + usize::from(*sense.get(7)?);
        let sense = sense.get(..end.min(sense.len()))?;
        let byte = |at: usize| sense.get(at).copied().unwrap_or_default();
        let information = sense.get(3..)?.first_chunk::<4>().filter(|_| sense[0] & 0x80 != 0);
        let specific = sense.get(15..).and_then(|rest| rest.first_chunk::<3>());
        Some(Self {
            key: byte(2) & 0x0f,
            asc: byte(12),
            ascq: byte(13),
            information: information.map(|word| u64::from(u32::from_be_bytes(*word))),
            specific: specific.copied().filter(|specific| specific[0] & 0x80 != 0),
            deferred,
        })
    }

    /// SPC-4 4.5.2.
    fn descriptors(sense: &[u8], deferred: bool) -> Option<Self> {
        let [_, key, asc, ascq] = *sense.first_chunk::<4>()?;
        let mut parsed = Self { key: key & 0x0f, asc, ascq, information: None, specific: None, deferred };
        let end = 8 + usize::from(*sense.get(7)?);
        let mut rest = sense.get(8..end)?;
        while let [kind, length, ..] = *rest {
            let body = rest.get(2..2 + usize::from(length))?;
            match kind {
                // Information: valid bit, reserved, 8 bytes.
                0x00 if *body.first()? & 0x80 != 0 => {
                    parsed.information = Some(u64::from_be_bytes(*body.get(2..)?.first_chunk()?));
                }
                // Sense key specific: 2 reserved, 3 bytes.
                0x02 => {
                    let specific = *body.get(2..)?.first_chunk::<3>()?;
                    parsed.specific = Some(specific).filter(|specific| specific[0] & 0x80 != 0);
                }
                _ => {}
            }
            rest = &rest[2 + usize::from(length)..];
        }
        Some(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_format_with_information_and_field_pointer() {
        let mut sense = [0; 96];
        sense[..18].copy_from_slice(&[0xf0, 0, 5, 1, 2, 3, 4, 10, 0, 0, 0, 0, 0x24, 1, 0, 0xc0, 0, 2]);
        let parsed = ParsedSense::parse(&sense).unwrap();
        assert_eq!((parsed.key, parsed.asc, parsed.ascq), (5, 0x24, 1));
        assert_eq!(parsed.information, Some(0x0102_0304));
        assert_eq!(parsed.specific, Some([0xc0, 0, 2]));
        assert!(!parsed.deferred);
        sense[0] = 0x71;
        sense[7] = 5;
        let short = ParsedSense::parse(&sense).unwrap();
        assert_eq!((short.key, short.asc, short.information, short.deferred), (5, 0x24, None, true));
        assert_eq!((short.ascq, short.specific), (0, None));
    }

    #[test]
    fn descriptor_format_with_two_descriptors() {
        let mut sense = vec![0x72, 3, 0x11, 0, 0, 0, 0, 20];
        sense.extend([0, 10, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 2]);
        sense.extend([2, 6, 0, 0, 0x80, 1, 2, 0]);
        let parsed = ParsedSense::parse(&sense).unwrap();
        assert_eq!((parsed.key, parsed.asc, parsed.ascq), (3, 0x11, 0));
        assert_eq!(parsed.information, Some(0x1_0000_0002));
        assert_eq!(parsed.specific, Some([0x80, 1, 2]));
        assert_eq!(ParsedSense::parse(&sense[..20]), None);
    }

    #[test]
    fn garbage_and_zeros_are_no_sense() {
        assert_eq!(ParsedSense::parse(&[0; 96]), None);
        assert_eq!(ParsedSense::parse(&[0x7f; 96]), None);
        assert_eq!(ParsedSense::parse(&[]), None);
        assert_eq!(ParsedSense::parse(&[0x72, 3]), None);
        assert_eq!(ParsedSense::parse(&[0x72, 0, 0, 0, 0, 0, 0, 2, 0, 10]), None);
    }
}
