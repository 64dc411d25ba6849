//! Whether lunboxd would refuse a device, as far as the policy's text and the device's tell.

use std::path::{Component, Path};

use lunbox_grant::{Cfgstring, GrantError};
use lunbox_policy::Tenant;

use super::GivenDevice;

/// Why it would be refused. A configuration that begins with a slash is taken for a path, as handlers do whose whole
/// configuration is one. Nothing is opened: links and missing files are not seen.
pub(super) fn refusal(tenant: &Tenant, given: &GivenDevice) -> Option<String> {
    let subtype = given.subtype();
    if !tenant.handlers.allows(subtype) {
        return Some(format!(
            "tenant {} may not use handler {subtype:?}; add it to its handlers",
            tenant.name
        ));
    }
    let (_, rest) = given.config.split_once('/')?;
    let config = Cfgstring::parse(rest).text;
    if !config.starts_with('/') || tenant.roots.is_empty() {
        return None;
    }
    let path = Path::new(&config);
    if path.components().any(|component| component == Component::ParentDir) {
        return Some(GrantError::DotDot { path: config }.to_string());
    }
    if tenant.roots.iter().any(|root| path.starts_with(root)) {
        return None;
    }
    let roots = tenant.roots.iter().map(|root| root.display().to_string()).collect();
    Some(GrantError::OutsideRoots { path: config, roots }.to_string())
}

#[cfg(test)]
mod tests {
    use lunbox_policy::Policy;

    use super::*;

    #[test]
    fn handlers_and_paths_that_a_tenant_may_not_use_are_refused() {
        let text = "version = 1\n[[tenant]]\nname = \"a\"\nmatch = [{ hba = 3 }]\nroots = [\"/srv/a\", \"/dev/sdx\"]\n\
                    handlers = [\"file\", \"mirror\"]\n";
        let policy = Policy::parse(text, Path::new("policy.toml")).unwrap();
        let verdict = |given: &str| {
            let given: GivenDevice = given.parse().unwrap();
            refusal(policy.tenant_of(given.hba, &given.name, &given.config), &given)
        };
        for right in [
            "3/x=file//srv/a/x",
            "3/x=file//srv//a/./x",
            "3/x=file//dev/sdx",
            "3/x=file//srv/a/x;tcmur_cmd_time_out=5",
            "3/x=mirror/one=/etc/x;two=/srv/a/x",
            "3/x=file/memory",
            "0/x=file//etc/shadow",
        ] {
            assert_eq!(verdict(right), None, "{right}");
        }
        for (wrong, part) in [
            ("3/x=zbc//srv/a/x", "may not use handler"),
            ("3/x=file//etc/shadow", "in no root of this tenant (/srv/a, /dev/sdx)"),
            ("3/x=file//srv/ab", "in no root"),
            ("3/x=file//srv/a/../b", "\"..\""),
        ] {
            let refused = verdict(wrong).expect(wrong);
            assert!(refused.contains(part), "{wrong}: {refused}");
        }
    }
}
