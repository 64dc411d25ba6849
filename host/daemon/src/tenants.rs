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
pub fn confines(tenant: &Tenant) -> Confines {
    Confines { user: tenant.user.clone(), required: tenant.jail == Jail::Required }
}

/// User and group to become.
///
/// # Errors
/// The system does not know the user, or can not tell.
pub(crate) fn numbers(user: &User) -> Result<(u32, u32), String> {
    let unreadable = |errno| format!("the user database can not be read: {errno}");
    let ids = match user {
        User::Name(name) => match Account::from_name(name).map_err(unreadable)? {
            Some(account) => (account.uid.as_raw(), account.gid.as_raw()),
            None => return Err("there is none of that name".to_owned()),
        },
        User::Ids { uid, gid: Some(gid) } => (*uid, *gid),
        User::Ids { uid, gid: None } => {
            let account = Account::from_uid(Uid::from_raw(*uid)).map_err(unreadable)?;
            (*uid, account.map_or(*uid, |account| account.gid.as_raw()))
        }
    };
    not_root(ids)
}

/// The policy file refuses numbers that are 0; this is about what the user database makes of names and users.
fn not_root(ids: (u32, u32)) -> Result<(u32, u32), String> {
    match ids {
        (0, _) => Err("it is root".to_owned()),
        (_, 0) => {
            Err("its group is that of root (0); give it another, or name one: user = \"UID:GID\"".to_owned())
        }
        ids => Ok(ids),
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
        assert_eq!(confines(&tenant("")), Confines::default());
        let confined = confines(&tenant("user = \"4242:4243\"\njail = \"required\""));
        assert!(confined.required);
        assert_eq!(numbers(&confined.user.unwrap()), Ok((4242, 4243)));
        let user = confines(&tenant("user = \"no-such-user\"")).user.unwrap();
        let error = numbers(&user).unwrap_err();
        assert!(error.contains("none of that name"), "{error}");
    }

    #[test]
    fn neither_user_nor_group_may_be_roots() {
        assert_eq!(not_root((5, 60)), Ok((5, 60)));
        // As `sync` has it on some systems.
        let error = not_root((5, 0)).unwrap_err();
        assert!(error.contains("group") && error.contains("UID:GID"), "{error}");
        assert!(not_root((0, 5)).unwrap_err().contains("root"));
        // The user database's word is asked for, by name as well as by number.
        for user in [User::Name("root".to_owned()), User::Ids { uid: 0, gid: None }] {
            assert!(numbers(&user).is_err(), "{user}");
        }
    }
}
