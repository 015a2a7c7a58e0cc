//! Who may connect to a Unix socket: the owner and the permissions of its file.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;

use nix::unistd::{Group, User};
use rustix::process::{getegid, geteuid, getgroups};

/// The owner and the permissions of a Unix socket. What is `None` is left as the system makes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketRights {
    /// The permission bits.
    pub mode: Option<u32>,
    /// The owner.
    pub owner: SocketOwner,
}

/// The user and the group of a socket, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketOwner {
    user: Option<u32>,
    group: Option<u32>,
}

/// Permissions in octal.
pub fn socket_mode(text: &str) -> Result<u32, String> {
    let is_octal = !text.is_empty() && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| is_octal);
    mode.filter(|mode| *mode <= 0o777)
        .ok_or_else(|| format!("{text:?} is not a mode; expected octal digits such as 660"))
}

impl std::str::FromStr for SocketOwner {
    type Err = String;

    /// `USER`, `USER:GROUP` or `:GROUP`, by name or number.
    fn from_str(text: &str) -> Result<Self, String> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        if group == Some("") || user.is_empty() && group.is_none() {
            return Err(format!(
                "{text:?} is not an owner; expected USER, USER:GROUP or :GROUP"
            ));
        }
        let user = (!user.is_empty()).then(|| user_id(user)).transpose()?;
        let group = group.map(group_id).transpose()?;
        Ok(Self { user, group })
    }
}

fn user_id(name: &str) -> Result<u32, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    match User::from_name(name) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err(format!("there is no user {name:?}")),
        Err(why) => Err(format!("can't look up the user {name:?}: {why}")),
    }
}

fn group_id(name: &str) -> Result<u32, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(format!("there is no group {name:?}")),
        Err(why) => Err(format!("can't look up the group {name:?}: {why}")),
    }
}

impl SocketRights {
    /// Whether anything is to be changed.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Finds before anything is made what this process may not give away.
    ///
    /// # Errors
    /// What it may not, for people.
    pub fn check(&self) -> Result<(), String> {
        let SocketOwner { user, group } = self.owner;
        let own = geteuid().as_raw();
        if own == 0 {
            return Ok(());
        }
        if let Some(user) = user.filter(|user| *user != own) {
            return Err(format!(
                "only root may give the socket to another user ({user}; the server runs as {own})"
            ));
        }
        let mut groups = getgroups().unwrap_or_default();
        groups.push(getegid());
        match group {
            Some(group) if !groups.iter().any(|own| own.as_raw() == group) => Err(format!(
                "the server's user is not in the group {group}, to which it should give the socket"
            )),
            _ => Ok(()),
        }
    }

    /// Changes the socket's file.
    pub(super) fn apply(&self, path: &Path) -> io::Result<()> {
        let SocketOwner { user, group } = self.owner;
        if user.is_some() || group.is_some() {
            lchown(path, user, group)?;
        }
        if let Some(mode) = self.mode {
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_and_owners() {
        assert_eq!(socket_mode("0660"), Ok(0o660));
        for wrong in ["", "u+rw", "8", "+7", "1777", "77777777777777"] {
            assert!(socket_mode(wrong).unwrap_err().contains("is not a mode"));
        }
        let owner = |text: &str| text.parse::<SocketOwner>();
        let both = |user, group| Ok(SocketOwner { user, group });
        assert_eq!(owner("root"), both(Some(0), None));
        assert_eq!(owner("12:root"), both(Some(12), Some(0)));
        assert_eq!(owner(":34"), both(None, Some(34)));
        for (wrong, why) in [
            ("", "is not an owner"),
            (":", "is not an owner"),
            ("root:", "is not an owner"),
            ("no such user", "there is no user"),
            ("root:no such group", "there is no group"),
        ] {
            assert!(owner(wrong).unwrap_err().contains(why), "{wrong}");
        }
    }
}
