//! User, capabilities, and the promise to gain nothing by execution.

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, getresgid, getresuid, setgroups, setresgid, setresuid};

use crate::error::Missing;
use crate::{JailError, Part};

/// Becomes another user. Capabilities stay permitted when `keep`, for [`drop_capabilities`] to use them up.
///
/// The outer error: the process had the privilege and failed, so it would go on as somebody it must not be.
pub(crate) fn become_user(user: (u32, u32), keep: bool) -> Result<Result<(), Missing>, JailError> {
    let (uid, gid) = (Uid::from_raw(user.0), Gid::from_raw(user.1));
    match is_already(uid, gid) {
        Ok(true) => return Ok(Ok(())),
        Ok(false) => {}
        Err(reason) => return Ok(Err(reason)),
    }
    let may = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    if !may(Capability::CAP_SETUID) || !may(Capability::CAP_SETGID) {
        let text = format!("not allowed to become {}:{}", user.0, user.1);
        return Ok(Err(Missing::Text { step: "changing the user", text }));
    }
    let failed =
        |step| move |errno| JailError::Failed { part: Part::User, reason: Missing::Call { step, errno } };
    prctl::set_keepcaps(keep).map_err(failed("PR_SET_KEEPCAPS"))?;
    setgroups(&[]).map_err(failed("setgroups"))?;
    setresgid(gid, gid, gid).map_err(failed("setresgid"))?;
    setresuid(uid, uid, uid).map_err(failed("setresuid"))?;
    Ok(Ok(()))
}

/// Real, effective and saved ids, and no group beside.
fn is_already(uid: Uid, gid: Gid) -> Result<bool, Missing> {
    let users = getresuid().map_err(Missing::call("getresuid"))?;
    let groups = getresgid().map_err(Missing::call("getresgid"))?;
    let more = nix::unistd::getgroups().map_err(Missing::call("getgroups"))?;
    Ok([users.real, users.effective, users.saved] == [uid; 3]
        && [groups.real, groups.effective, groups.saved] == [gid; 3]
        && more.iter().all(|&group| group == gid))
}

/// Empties every set, the bounding set included, as far as the process is allowed to; it is in force when the
/// process has no capability and can not get one by execution either.
pub(crate) fn drop_capabilities() -> Result<(), Missing> {
    let wrong = Missing::text::<caps::errors::CapsError>;
    let permitted = caps::read(None, CapSet::Permitted).map_err(wrong("reading the capabilities"))?;
    if permitted.contains(&Capability::CAP_SETPCAP) {
        // After a change of the user it is permitted, but not effective.
        caps::set(None, CapSet::Effective, &CapsHashSet::from([Capability::CAP_SETPCAP]))
            .map_err(wrong("raising CAP_SETPCAP"))?;
        caps::clear(None, CapSet::Bounding).map_err(wrong("emptying the bounding set"))?;
    }
    if caps::runtime::ambient_set_supported().is_ok() {
        caps::clear(None, CapSet::Ambient).map_err(wrong("emptying the ambient set"))?;
    }
    for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).map_err(wrong("emptying the capability sets"))?;
    }
    prctl::set_keepcaps(false).map_err(Missing::call("PR_SET_KEEPCAPS"))?;
    let bounding = caps::read(None, CapSet::Bounding).map_err(wrong("reading the bounding set"))?;
    if !bounding.is_empty() && nix::unistd::geteuid().is_root() {
        // Root gains the bounding set by execution.
        let text = "CAP_SETPCAP is lacking".to_owned();
        return Err(Missing::Text { step: "emptying the bounding set", text });
    }
    Ok(())
}

/// Execution gains nothing from here on, and neither debuggers nor core dumps get at the memory. Reading the own
/// memory by process_vm_readv(2) stays possible: a thread group may always look at itself.
pub(crate) fn forbid_new() -> Result<(), Missing> {
    prctl::set_no_new_privs().map_err(Missing::call("PR_SET_NO_NEW_PRIVS"))?;
    prctl::set_dumpable(false).map_err(Missing::call("PR_SET_DUMPABLE"))
}
