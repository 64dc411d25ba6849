//! How clients name a LUN.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::TargetName;

/// The URL of a LUN as libiscsi and qemu understand it: `iscsi://ADDRESS:PORT/TARGET/LUN`. For a server that listens
/// on all addresses it is this machine's own view. An IPv4 address in IPv6's clothes is written as what it is.
#[must_use]
pub fn url(address: SocketAddr, target: &TargetName, lun: usize) -> String {
    let address = match address.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::from((Ipv6Addr::LOCALHOST, address.port())),
        ip => SocketAddr::from((ip, address.port())),
    };
    format!("iscsi://{address}/{target}/{lun}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families() {
        let target: TargetName = "iqn.2026-11.org.lunbox:x".parse().unwrap();
        for (address, expected) in [
            ("127.0.0.1:3260", "iscsi://127.0.0.1:3260/iqn.2026-11.org.lunbox:x/1"),
            ("0.0.0.0:80", "iscsi://127.0.0.1:80/iqn.2026-11.org.lunbox:x/1"),
            ("[::1]:3260", "iscsi://[::1]:3260/iqn.2026-11.org.lunbox:x/1"),
            ("[::ffff:127.0.0.1]:3260", "iscsi://127.0.0.1:3260/iqn.2026-11.org.lunbox:x/1"),
            ("[::ffff:0.0.0.0]:80", "iscsi://127.0.0.1:80/iqn.2026-11.org.lunbox:x/1"),
            ("[::]:1", "iscsi://[::1]:1/iqn.2026-11.org.lunbox:x/1"),
        ] {
            assert_eq!(url(address.parse().unwrap(), &target, 1), expected);
        }
    }
}
