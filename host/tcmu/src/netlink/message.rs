//! The messages of the kernel's `TCM-USER` family as bytes. neli lays out generic netlink headers and
//! attributes; the outer frame is walked here, since its lengths must be checked before anything trusts them.

use std::io::Cursor;

use neli::consts::genl::{CtrlAttr, CtrlAttrMcastGrp, CtrlCmd};
use neli::consts::nl::NlmF;
use neli::genl::{AttrTypeBuilder, Genlmsghdr, GenlmsghdrBuilder, Nlattr, NlattrBuilder};
use neli::nl::{NlPayload, NlmsghdrBuilder};
use neli::types::{Buffer, GenlBuffer};
use neli::{FromBytesWithInput, ToBytes};
use nix::errno::Errno;

use super::{Change, DeviceEvent, EventKind, NetlinkError};
use crate::name::{DeviceId, Minor};

/// Name of the family (`include/uapi/linux/target_core_user.h` has no constant for it).
pub(super) const FAMILY: &str = "TCM-USER";
/// The multicast group of the family.
pub(super) const GROUP: &str = "config";
/// Version of the family. Events of version 1 want no answer.
pub(super) const VERSION: u8 = 2;
/// `GENL_ID_CTRL`: the family that knows the others.
const CONTROLLER: u16 = 0x10;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// Bytes of a `struct nlmsghdr`.
const HEADER: usize = 16;

/// `enum tcmu_genl_cmd`.
pub(super) mod command {
    pub const ADDED: u8 = 1;
    pub const REMOVED: u8 = 2;
    pub const RECONFIG: u8 = 3;
    pub const ADDED_DONE: u8 = 4;
    pub const REMOVED_DONE: u8 = 5;
    pub const RECONFIG_DONE: u8 = 6;
    pub const SET_FEATURES: u8 = 7;
}

/// `enum tcmu_genl_attr`.
pub(super) mod attribute {
    pub const DEVICE: u16 = 1;
    pub const MINOR: u16 = 2;
    pub const DEV_CFG: u16 = 4;
    pub const DEV_SIZE: u16 = 5;
    pub const WRITECACHE: u16 = 6;
    pub const CMD_STATUS: u16 = 7;
    pub const DEVICE_ID: u16 = 8;
    pub const SUPP_KERN_CMD_REPLY: u16 = 9;
}

/// Numbers that the kernel gave to the family when its module was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Family {
    /// Message type of the family.
    pub id: u16,
    /// Number of its multicast group.
    pub group: u32,
}

/// One message of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// Answer to the request of this number; the request succeeded if there is no error.
    Answer { sequence: u32, error: Option<Errno> },
    /// A generic netlink message of this type, for [`decode_event`] or [`decode_family`].
    Generic { kind: u16, sequence: u32, payload: &'a [u8] },
}

type Attributes = GenlBuffer<u16, Buffer>;

fn malformed(reason: impl ToString) -> NetlinkError {
    NetlinkError::Malformed { reason: reason.to_string() }
}

/// Takes the first message off a datagram; `None` when it is used up. After an error the rest is not readable.
pub(super) fn next_message<'a>(datagram: &mut &'a [u8]) -> Result<Option<Message<'a>>, NetlinkError> {
    if datagram.is_empty() {
        return Ok(None);
    }
    let word = |at: usize| datagram.get(at..at + 4)?.first_chunk().copied().map(u32::from_ne_bytes);
    let short = || malformed(format!("a message of {} bytes has no whole header", datagram.len()));
    let (length, sequence) = (word(0).ok_or_else(short)?, word(8).ok_or_else(short)?);
    let kind = datagram.get(4..6).and_then(<[u8]>::first_chunk).copied().map(u16::from_ne_bytes);
    let kind = kind.ok_or_else(short)?;
    let length = usize::try_from(length).map_err(malformed)?;
    let Some(payload) = datagram.get(HEADER..length) else {
        return Err(malformed(format!("a message claims {length} of {} bytes", datagram.len())));
    };
    let padded = length.next_multiple_of(4).min(datagram.len());
    let message = if kind == ERROR {
        let code = payload.first_chunk().copied().map(i32::from_ne_bytes);
        let code = code.ok_or_else(|| malformed("an error message holds no error number"))?;
        let error = (code != 0).then(|| Errno::from_raw(code.saturating_neg()));
        Message::Answer { sequence, error }
    } else {
        Message::Generic { kind, sequence, payload }
    };
    *datagram = &datagram[padded..];
    Ok(Some(message))
}

fn generic(payload: &[u8]) -> Result<Genlmsghdr<u8, u16>, NetlinkError> {
    Genlmsghdr::from_bytes_with_input(&mut Cursor::new(payload), payload.len()).map_err(malformed)
}

fn find(attributes: &Attributes, wanted: u16) -> Option<&[u8]> {
    let found = attributes.iter().find(|attribute| *attribute.nla_type().nla_type() == wanted);
    found.map(|attribute| attribute.nla_payload().as_ref())
}

fn find_u16(attributes: &Attributes, wanted: u16) -> Option<u16> {
    find(attributes, wanted)?.try_into().ok().map(u16::from_ne_bytes)
}

fn find_u32(attributes: &Attributes, wanted: u16) -> Option<u32> {
    find(attributes, wanted)?.try_into().ok().map(u32::from_ne_bytes)
}

fn find_u64(attributes: &Attributes, wanted: u16) -> Option<u64> {
    find(attributes, wanted)?.try_into().ok().map(u64::from_ne_bytes)
}

/// A string attribute up to its NUL.
fn find_text(attributes: &Attributes, wanted: u16) -> Option<String> {
    let bytes = find(attributes, wanted)?;
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    Some(String::from_utf8_lossy(text).into_owned())
}

/// Reads an event of the family. Commands that are no events give `None`. Attributes that are missing or of
/// the wrong size are `None` in the event: the caller may still be able to answer.
pub(super) fn decode_event(payload: &[u8]) -> Result<Option<DeviceEvent>, NetlinkError> {
    let message = generic(payload)?;
    let attributes = message.attrs();
    let kind = match *message.cmd() {
        command::ADDED => EventKind::Added,
        command::REMOVED => EventKind::Removed,
        command::RECONFIG => EventKind::Reconfigured(decode_change(attributes)),
        _ => return Ok(None),
    };
    Ok(Some(DeviceEvent {
        kind,
        device_id: find_u32(attributes, attribute::DEVICE_ID).map(DeviceId),
        minor: find_u32(attributes, attribute::MINOR).map(Minor),
        name: find_text(attributes, attribute::DEVICE),
        wants_reply: *message.version() > 1,
    }))
}

fn decode_change(attributes: &Attributes) -> Change {
    // The kernel sends exactly one of them.
    if let Some(bytes) = find_u64(attributes, attribute::DEV_SIZE) {
        Change::Size(bytes)
    } else if let Some(config) = find_text(attributes, attribute::DEV_CFG) {
        Change::Config(config)
    } else if let Some(&[on]) = find(attributes, attribute::WRITECACHE) {
        Change::WriteCache(on != 0)
    } else {
        Change::Unknown
    }
}

/// Reads the controller's answer to [`encode_family_request`].
pub(super) fn decode_family(payload: &[u8], wanted: &str) -> Result<Family, NetlinkError> {
    let message = generic(payload)?;
    let attributes = message.attrs();
    let id = find_u16(attributes, CtrlAttr::FamilyId.into()).ok_or_else(|| malformed("no family id"))?;
    let groups = find(attributes, CtrlAttr::McastGroups.into()).unwrap_or_default();
    for group in nested(groups)?.iter() {
        let group = nested(group.nla_payload().as_ref())?;
        if find_text(&group, CtrlAttrMcastGrp::Name.into()).as_deref() == Some(wanted)
            && let Some(group) = find_u32(&group, CtrlAttrMcastGrp::Id.into())
        {
            return Ok(Family { id, group });
        }
    }
    Err(malformed(format!("the family has no multicast group {wanted}")))
}

fn nested(bytes: &[u8]) -> Result<Attributes, NetlinkError> {
    GenlBuffer::from_bytes_with_input(&mut Cursor::new(bytes), bytes.len()).map_err(malformed)
}

/// Asks the controller for the numbers of a family.
pub(super) fn encode_family_request(name: &str, sequence: u32) -> Result<Vec<u8>, NetlinkError> {
    let name = attr(CtrlAttr::FamilyName.into(), name)?;
    encode(CONTROLLER, CtrlCmd::Getfamily.into(), 1, NlmF::REQUEST, sequence, [name])
}

/// Tells the kernel that this daemon answers events. The kernel acknowledges it.
pub(super) fn encode_features(family: u16, sequence: u32) -> Result<Vec<u8>, NetlinkError> {
    let replies = attr(attribute::SUPP_KERN_CMD_REPLY, 1_u8)?;
    encode(family, command::SET_FEATURES, VERSION, NlmF::REQUEST | NlmF::ACK, sequence, [replies])
}

/// The answer to an event. `status` is 0 or a negative errno. Not acknowledged; the kernel speaks up only if
/// nobody waits for it.
pub(super) fn encode_reply(
    family: u16,
    sequence: u32,
    kind: &EventKind,
    device: DeviceId,
    status: i32,
) -> Result<Vec<u8>, NetlinkError> {
    let done = match kind {
        EventKind::Added => command::ADDED_DONE,
        EventKind::Removed => command::REMOVED_DONE,
        EventKind::Reconfigured(_) => command::RECONFIG_DONE,
    };
    let attributes = [attr(attribute::CMD_STATUS, status)?, attr(attribute::DEVICE_ID, device.0)?];
    encode(family, done, VERSION, NlmF::REQUEST, sequence, attributes)
}

fn attr(kind: u16, value: impl neli::Size + ToBytes) -> Result<Nlattr<u16, Buffer>, NetlinkError> {
    let kind = AttrTypeBuilder::default().nla_type(kind).build().map_err(malformed)?;
    NlattrBuilder::default().nla_type(kind).nla_payload(value).build().map_err(malformed)
}

fn encode<const N: usize>(
    kind: u16,
    command: u8,
    version: u8,
    flags: NlmF,
    sequence: u32,
    attributes: [Nlattr<u16, Buffer>; N],
) -> Result<Vec<u8>, NetlinkError> {
    let attributes = attributes.into_iter().collect::<Attributes>();
    let payload = GenlmsghdrBuilder::<u8, u16>::default()
        .cmd(command)
        .version(version)
        .attrs(attributes)
        .build()
        .map_err(malformed)?;
    let message = NlmsghdrBuilder::default()
        .nl_type(kind)
        .nl_flags(flags)
        .nl_seq(sequence)
        .nl_payload(NlPayload::Payload(payload))
        .build()
        .map_err(malformed)?;
    let mut bytes = Cursor::new(Vec::new());
    message.to_bytes(&mut bytes).map_err(malformed)?;
    Ok(bytes.into_inner())
}
