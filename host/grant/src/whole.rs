//! From what a cfgstring asks for to the stores of a device, opened at once for a process that keeps them.

use std::sync::Arc;

use lunbox_contract::StoreInfo;
use lunbox_store::{FileOptions, OpenError, Store};

use crate::claims::{Claim, Claims};
use crate::error::GrantError;
use crate::locator::Locator;
use crate::open::{Access, Grant, open_store};
use crate::options::StoreRequest;

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

/// Opens what a text (a [`crate::Cfgstring`] without its host arguments) grants to `device` if its handler has no
/// schema. An empty text grants nothing: a handler that needs a store says so itself. May block as long as the file
/// system does, and some seconds for a lock.
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
    let request = StoreRequest {
        option: String::new(),
        locator: Locator::Path(text.to_owned()),
        read_only: false,
        create: true,
    };
    open_requests(&[request], device, claims, Some(access), 0)
}

/// Opens the stores that a text asks for by the schema of its handler ([`crate::parse`]), for a process that serves
/// them itself. `first` is how the first one is opened, if not as the schema says (but what the schema does not create
/// is not created); [`Access::ReadOnly`] there makes all of them read-only. `memory_bytes` is the size of a memory store. May block as [`open_grant`].
///
/// # Errors
/// [`OpenGrantError`]; nothing stays open. Files may have been created.
pub fn open_requests(
    requests: &[StoreRequest],
    device: &str,
    claims: &Arc<Claims>,
    first: Option<Access>,
    memory_bytes: u64,
) -> Result<Opened, OpenGrantError> {
    let mut opened = Opened::default();
    for (index, request) in requests.iter().enumerate() {
        let access = match (first, request.access()) {
            (Some(Access::ReadOnly), _) | (_, Access::ReadOnly) => Access::ReadOnly,
            // A handler that can not begin with an empty file gets none.
            (Some(Access::Sized { .. }), Access::Existing) => Access::Existing,
            (Some(first), _) if index == 0 => first,
            (_, asked) => asked,
        };
        let name = || request.locator.to_string();
        let failed = |source| OpenGrantError::Store { path: name(), source };
        let store = match &request.locator {
            Locator::Path(path) => {
                let Grant { fd, claim, created, .. } = open_store(path, device, claims, access)?;
                opened.created |= created;
                opened.claim = Some(match opened.claim.take() {
                    Some(earlier) => earlier.and(claim),
                    None => claim,
                });
                Store::file(fd, FileOptions { read_only: !access.writes() }).map_err(failed)?
            }
            Locator::Memory if memory_bytes == 0 => return Err(GrantError::NoMemory.into()),
            Locator::Memory => Store::memory(memory_bytes).map_err(failed)?,
            Locator::Rbd { .. } => return Err(GrantError::NoClient { locator: name(), kind: "rbd" }.into()),
            Locator::Glfs { .. } => return Err(GrantError::NoClient { locator: name(), kind: "glfs" }.into()),
        };
        let info = StoreInfo {
            option: request.option.clone(),
            size: store.size(),
            read_only: store.read_only(),
            discard_zeroes: store.discard_zeroes(),
            can_grow: store.can_grow(),
            physical_block_size: store.physical_block_size(),
            discard_granularity: store.discard_granularity(),
        };
        opened.stores.push(OpenedStore { store, info });
    }
    Ok(opened)
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

    #[test]
    fn several_stores_are_opened_each_in_its_own_way() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| Locator::Path(directory.path().join(name).to_str().unwrap().to_owned());
        let request = |option: &str, locator, read_only| StoreRequest {
            option: option.to_owned(),
            locator,
            read_only,
            create: !read_only,
        };
        std::fs::write(directory.path().join("base"), [0; 512]).unwrap();
        let requests = [
            request("disk", path("disk"), false),
            request("base", path("base"), true),
            request("cache", Locator::Memory, false),
        ];
        let claims = Arc::default();
        let sized = Some(Access::Sized { bytes: 4096 });
        let opened = open_requests(&requests, "a", &claims, sized, 8192).unwrap();
        let infos = opened.stores.iter().map(|opened| &opened.info);
        let seen: Vec<_> = infos.map(|info| (info.option.as_str(), info.size, info.read_only)).collect();
        assert_eq!(seen, [("disk", 4096, false), ("base", 512, true), ("cache", 8192, false)]);
        assert!(opened.created);
        // One claim for both files.
        let again = |requests: &[StoreRequest]| open_requests(requests, "b", &claims, None, 1);
        for request in &requests[..2] {
            let writes = StoreRequest { read_only: false, ..request.clone() };
            let error = again(&[writes]).unwrap_err();
            assert!(matches!(error, OpenGrantError::Grant(GrantError::Claimed { .. })), "{error}");
        }
        drop(opened);
        let read_only = open_requests(&requests[..2], "b", &claims, Some(Access::ReadOnly), 0).unwrap();
        assert!(read_only.stores.iter().all(|opened| opened.info.read_only));
        // What the schema does not create, a size does not create either.
        let missing = StoreRequest { create: false, ..request("disk", path("none"), false) };
        let error = open_requests(&[missing], "c", &claims, sized, 0).unwrap_err();
        assert!(matches!(error, OpenGrantError::Grant(GrantError::Missing { .. })), "{error}");
    }

    #[test]
    fn stores_that_this_build_can_not_reach_are_refused() {
        for (text, part) in [("rbd=p/i", "no rbd store"), ("glfs=v@h/p", "no glfs store"), ("memory", "size")]
        {
            let request = StoreRequest {
                option: "x".to_owned(),
                locator: text.parse().unwrap(),
                read_only: false,
                create: false,
            };
            let error = open_requests(&[request], "a", &Arc::default(), None, 0).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
