//! Landlock (landlock(7)): everything that the kernel knows how to handle is handled, and nothing is granted.

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError,
    RulesetStatus, Scope,
};

use crate::error::Missing;

/// The newest interface that this code was read against. What the running kernel lacks of it is left out.
const NEWEST: ABI = ABI::V10;

/// Descriptors that are open, and those that are sent later by an unrestricted process, keep their rights: Landlock
/// looks at opening. In force as soon as the kernel enforces the first interface's rights on files.
pub(crate) fn grant_nothing() -> Result<(), Missing> {
    let status = restrict().map_err(Missing::text("restricting by Landlock"))?;
    match status {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced => {
            tracing::debug!("Landlock handles files, but this kernel lacks some of its later rights");
            Ok(())
        }
        RulesetStatus::NotEnforced => {
            let text = "the kernel does not have it, or it is not switched on".to_owned();
            Err(Missing::Text { step: "restricting by Landlock", text })
        }
    }
}

fn restrict() -> Result<RulesetStatus, RulesetError> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    Ok(ruleset.restrict_self()?.ruleset)
}
