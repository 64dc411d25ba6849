//! From a tenant of the policy to a worker: its name and its confinement.

use lunbox_policy::{Jail, Tenant, User};
use lunbox_tcmu::Minor;
use nix::unistd::{Uid, User as Account};

use crate::workers::Confines;
use crate::workers::spawn::OWN_WORKER;

/// Name of the worker that serves a device of this tenant.
pub fn worker_of(tenant: &Tenant, minor: Minor) -> String {
    if tenant.own_worker_per_device {
        format!("{}{OWN_WORKER}{minor}", tenant.name)
    } else {
        tenant.name.clone()
    }
}

/// How its workers are confined.
///
/// # Errors
/// Its user is not known to the system.
pub fn confines(tenant: &Tenant) -> Result<Confines, String> {
    let user = tenant.user.as_ref().map(|user| {
        numbers(user).map_err(|problem| {
            format!(
                "user {user} of tenant {}: {problem}; create the user, or correct the policy file",
                tenant.name
            )
        })
    });
    Ok(Confines { user: user.transpose()?, required: tenant.jail == Jail::Required })
}

fn numbers(user: &User) -> Result<(u32, u32), String> {
    let unreadable = |errno| format!("the user database can not be read: {errno}");
    match user {
        User::Name(name) => match Account::from_name(name).map_err(unreadable)? {
            Some(account) if account.uid.is_root() => Err("it is root".to_owned()),
            Some(account) => Ok((account.uid.as_raw(), account.gid.as_raw())),
            None => Err("there is none of that name".to_owned()),
        },
        User::Ids { uid, gid: Some(gid) } => Ok((*uid, *gid)),
        User::Ids { uid, gid: None } => {
            let account = Account::from_uid(Uid::from_raw(*uid)).map_err(unreadable)?;
            Ok((*uid, account.map_or(*uid, |account| account.gid.as_raw())))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use lunbox_policy::Policy;

    use super::*;

    fn tenant(lines: &str) -> Tenant {
        let text = format!("version = 1\n[[tenant]]\nname = \"acme\"\nmatch = [{{hba = 3}}]\n{lines}\n");
        Policy::parse(&text, Path::new("policy.toml")).unwrap().tenants().next().unwrap().clone()
    }

    #[test]
    fn a_tenant_has_one_worker_or_one_for_each_device() {
        assert_eq!(worker_of(&tenant(""), Minor(3)), "acme");
        let own = worker_of(&tenant("own_worker_per_device = true"), Minor(3));
        assert_eq!(own, "acme.uio3");
        assert_eq!(crate::workers::spawn::tenant(&own), "acme");
    }

    #[test]
    fn users_become_numbers_and_unknown_ones_are_named() {
        assert_eq!(confines(&tenant("")), Ok(Confines::default()));
        let confined = confines(&tenant("user = \"4242:4243\"\njail = \"required\"")).unwrap();
        assert_eq!(confined, Confines { user: Some((4242, 4243)), required: true });
        let error = confines(&tenant("user = \"no-such-user\"")).unwrap_err();
        assert!(error.contains("no-such-user") && error.contains("policy file"), "{error}");
    }
}
