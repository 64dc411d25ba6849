//! From a whole cfgstring to the stores of a device. Without a schema there is one grant: the whole text.

use std::sync::Arc;

use lunbox_contract::StoreInfo;
use lunbox_store::{FileOptions, OpenError, Store};

use crate::claims::{Claim, Claims};
use crate::open::{Access, Grant, GrantError, open_store};

/// One store that was opened for a handler.
#[derive(Debug)]
pub struct OpenedStore {
    /// The store itself.
    pub store: Store,
    /// What the handler learns of it.
    pub info: StoreInfo,
}

/// What a cfgstring grants, opened.
#[derive(Debug, Default)]
pub struct Opened {
    /// Keep it as long as the stores may be written to.
    pub claim: Option<Claim>,
    /// By the handler's store id.
    pub stores: Vec<OpenedStore>,
    /// A file was made that was not there before.
    pub created: bool,
}

/// Why a cfgstring was not granted.
#[derive(Debug, thiserror::Error)]
pub enum OpenGrantError {
    /// It can not be opened.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// It is open and can not be a store.
    #[error("{path}: {source}")]
    Store {
        /// Where.
        path: String,
        /// Why not.
        source: OpenError,
    },
}

/// Opens what a text (a [`crate::Cfgstring`] without its host arguments) grants to `device`. An empty text grants
/// nothing: a handler that needs a store says so itself. May block as long as the file system does, and some
/// seconds for a lock.
///
/// # Errors
/// [`OpenGrantError`]; nothing stays open. A file may have been created.
pub fn open_grant(
    text: &str,
    device: &str,
    claims: &Arc<Claims>,
    access: Access,
) -> Result<Opened, OpenGrantError> {
    if text.is_empty() {
        return Ok(Opened::default());
    }
    let Grant { fd, claim, can_grow, created } = open_store(text, device, claims, access)?;
    let store = Store::file(fd, FileOptions { read_only: !access.writes() })
        .map_err(|source| OpenGrantError::Store { path: text.to_owned(), source })?;
    let info = StoreInfo {
        option: String::new(),
        size: store.size(),
        read_only: store.read_only(),
        discard_zeroes: store.discard_zeroes(),
        can_grow,
    };
    Ok(Opened { claim: Some(claim), stores: vec![OpenedStore { store, info }], created })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_granted_for_nothing() {
        let opened = open_grant("", "a", &Arc::default(), Access::Create).unwrap();
        assert!(opened.claim.is_none() && opened.stores.is_empty() && !opened.created);
    }

    #[test]
    fn a_file_becomes_the_only_store() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        let text = path.to_str().unwrap();
        let claims = Arc::default();
        let opened = open_grant(text, "a", &claims, Access::Create).unwrap();
        assert!(opened.created && opened.claim.is_some());
        assert_eq!(opened.stores.len(), 1);
        drop(opened);
        std::fs::write(&path, [0; 1536]).unwrap();
        let opened = open_grant(text, "a", &claims, Access::ReadOnly).unwrap();
        let info = &opened.stores[0].info;
        assert!(!opened.created && info.read_only && !info.can_grow && info.size == 1536, "{info:?}");
    }
}
