//! CHAP, one way: the target has the initiator prove that it knows a secret (RFC 7143 clause 12.1.3, RFC 1994).

use std::fmt;
use subtle::ConstantTimeEq as _;
use thiserror::Error;

/// Shortest secret in bytes: 96 bits, without IPsec (RFC 7143 clause 12.1.3).
pub const SECRET_MIN: usize = 12;

/// Longest secret in bytes; what initiators can be configured with is shorter.
pub const SECRET_MAX: usize = 255;

/// A secret. Neither `Debug` nor any message shows it.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// Why something can not be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SecretError {
    /// Too easy to guess.
    #[error("CHAP secret has {length} bytes; it needs at least {SECRET_MIN} (choose a longer one)")]
    TooShort {
        /// Its length in bytes.
        length: usize,
    },
    /// Not usable with common initiators.
    #[error("CHAP secret has {length} bytes; it may have at most {SECRET_MAX}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
}

impl Secret {
    /// Takes a secret of [`SECRET_MIN`] to [`SECRET_MAX`] bytes.
    ///
    /// # Errors
    /// If it is shorter or longer.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, SecretError> {
        let bytes = bytes.into();
        match bytes.len() {
            length @ ..SECRET_MIN => Err(SecretError::TooShort { length }),
            SECRET_MIN..=SECRET_MAX => Ok(Self(bytes)),
            length => Err(SecretError::TooLong { length }),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// Who may log in.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// CHAP_N: the name that the initiator must give; 1 to 255 bytes.
    pub user: String,
    /// What it must know.
    pub secret: Secret,
}

impl Credentials {
    /// Whether a response shows that the initiator has this name and knows this secret. Takes the same time whichever
    /// of both is wrong.
    #[must_use]
    pub fn accept(&self, user: &str, challenge: &Challenge, response: &[u8]) -> bool {
        let name = self.user.as_bytes().ct_eq(user.as_bytes());
        bool::from(name & challenge.check(&self.secret, response))
    }
}

/// How responses are computed (CHAP_A; numbers of the IANA registry "PPP Authentication Algorithms").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// 5: mandatory for all.
    Md5,
    /// 7: SHA-256 (RFC 7143 clause 12.1.3 allows registered algorithms beside MD5).
    Sha256,
}

impl Algorithm {
    /// The value of CHAP_A.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Md5 => 5,
            Self::Sha256 => 7,
        }
    }

    /// The algorithm with this number, if it is supported.
    #[must_use]
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            5 => Some(Self::Md5),
            7 => Some(Self::Sha256),
            _ => None,
        }
    }

    /// Bytes of a response, and of the challenges made here.
    #[must_use]
    pub const fn length(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha256 => 32,
        }
    }
}

/// The longest response in bytes of all algorithms.
pub const RESPONSE_MAX: usize = 32;

/// What the initiator has to answer. Used once: a second login gets another one.
#[derive(Clone)]
pub struct Challenge {
    algorithm: Algorithm,
    identifier: u8,
    bytes: Vec<u8>,
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Challenge({:?}, identifier {})", self.algorithm, self.identifier)
    }
}

impl Challenge {
    /// A new one from the system's random numbers.
    ///
    /// # Errors
    /// If the system has none to give.
    pub fn random(algorithm: Algorithm) -> Result<Self, getrandom::Error> {
        let mut bytes = vec![0; algorithm.length() + 1];
        getrandom::fill(&mut bytes)?;
        let identifier = bytes.pop().unwrap_or_default();
        Ok(Self { algorithm, identifier, bytes })
    }

    /// CHAP_A.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// CHAP_I.
    #[must_use]
    pub const fn identifier(&self) -> u8 {
        self.identifier
    }

    /// CHAP_C.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The right response: hash of identifier, secret and challenge (RFC 1994 clause 4.1).
    #[must_use]
    pub fn response(&self, secret: &Secret) -> Vec<u8> {
        match self.algorithm {
            Algorithm::Md5 => self.hash::<md5::Md5>(secret),
            Algorithm::Sha256 => self.hash::<sha2::Sha256>(secret),
        }
    }

    fn hash<H: md5::Digest>(&self, secret: &Secret) -> Vec<u8> {
        let hash = H::new().chain_update([self.identifier]).chain_update(&secret.0);
        hash.chain_update(&self.bytes).finalize().to_vec()
    }

    fn check(&self, secret: &Secret, response: &[u8]) -> subtle::Choice {
        self.response(secret).as_slice().ct_eq(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        Credentials { user: "dora".into(), secret: Secret::new("correct horse battery").unwrap() }
    }

    fn challenge(algorithm: Algorithm) -> Challenge {
        Challenge { algorithm, identifier: 0x2a, bytes: (0..=15).collect() }
    }

    /// Computed with Python's hashlib over `2a`, the secret and `00 01 … 0f`.
    #[test]
    fn responses_are_what_another_implementation_computes() {
        let Credentials { secret, .. } = credentials();
        let hex = |bytes: Vec<u8>| crate::text::value::Hex(&bytes).to_string();
        assert_eq!(hex(challenge(Algorithm::Md5).response(&secret)), "0x7efffe0f324cdaeb9442b9216e36d904");
        assert_eq!(
            hex(challenge(Algorithm::Sha256).response(&secret)),
            "0x27750b3c27f8f918a878a6e96ac6ba3778f21ad55a7cd93fbd1424ab63cbe87b"
        );
    }

    #[test]
    fn only_the_right_name_and_response_are_accepted() {
        for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
            let (credentials, challenge) = (credentials(), challenge(algorithm));
            let right = challenge.response(&credentials.secret);
            assert_eq!(right.len(), algorithm.length());
            assert!(credentials.accept("dora", &challenge, &right));
            assert!(!credentials.accept("dor", &challenge, &right));
            assert!(!credentials.accept("", &challenge, &right));
            assert!(!credentials.accept("dora", &challenge, &right[1..]));
            assert!(!credentials.accept("dora", &challenge, &[]));
            for at in 0..right.len() {
                let mut wrong = right.clone();
                wrong[at] ^= 1;
                assert!(!credentials.accept("dora", &challenge, &wrong), "byte {at}");
            }
        }
    }

    #[test]
    fn challenges_differ() {
        let (a, b) =
            (Challenge::random(Algorithm::Sha256).unwrap(), Challenge::random(Algorithm::Sha256).unwrap());
        assert_eq!(a.bytes().len(), 32);
        assert_ne!(a.bytes(), b.bytes());
        assert_eq!(Challenge::random(Algorithm::Md5).unwrap().bytes().len(), 16);
    }

    #[test]
    fn secrets_are_neither_short_nor_shown() {
        assert_eq!(Secret::new("elevenbytes").unwrap_err(), SecretError::TooShort { length: 11 });
        assert_eq!(Secret::new(vec![1; 256]).unwrap_err(), SecretError::TooLong { length: 256 });
        let shown = format!("{:?}", credentials());
        assert!(shown.contains("dora") && !shown.contains("horse") && !shown.contains("104"), "{shown}");
    }
}
