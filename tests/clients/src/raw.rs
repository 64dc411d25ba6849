//! iSCSI by hand, for what no client would send. RFC 7143 11.12 and 11.13, and nothing of the server's own code.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// How long the other side may keep us waiting for a byte.
const PATIENCE: Duration = Duration::from_secs(40);

/// Bytes of a basic header segment.
pub const HEADER: usize = 48;

/// A connection to `address` whose reads and writes end with an error after 40 s.
///
/// # Errors
/// When nobody listens there.
pub fn connect(address: &str) -> Result<TcpStream> {
    let address: SocketAddr = address.parse().with_context(|| format!("address {address}"))?;
    let stream =
        TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A login request that asks for the full feature phase at once, without security. `initiator_number` makes the ISID.
pub fn login_request(initiator_number: u8, target: &str) -> Vec<u8> {
    let text = format!(
        "InitiatorName=iqn.2026-11.org.lunbox:raw-{initiator_number}\0SessionType=Normal\0TargetName={target}\0"
    );
    // A name has at most 223 bytes (RFC 7143 4.2.7.1): the length fits its 24 bits.
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let mut pdu = vec![0; HEADER];
    pdu[0] = 0x43; // Login Request, immediate
    pdu[1] = 0x87; // transit from operational negotiation to the full feature phase
    pdu[5..8].copy_from_slice(&length.to_be_bytes()[1..]);
    pdu[8..14].copy_from_slice(&[0x80, 0, 0, 0, 0, initiator_number]);
    pdu[16..20].copy_from_slice(&[0, 0, 0, 1]); // initiator task tag
    pdu.extend_from_slice(text.as_bytes());
    pdu.resize(pdu.len().next_multiple_of(4), 0);
    pdu
}

/// Logs in and reads the answer.
///
/// # Errors
/// When the target refuses, or answers with something else.
pub fn log_in(stream: &mut TcpStream, initiator_number: u8, target: &str) -> Result<()> {
    stream.write_all(&login_request(initiator_number, target)).context("send a login request")?;
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).context("read the answer to a login request")?;
    let length = u32::from_be_bytes([0, header[5], header[6], header[7]]).next_multiple_of(4);
    let mut text = vec![0; usize::try_from(length)?];
    stream.read_exact(&mut text).context("read the text of an answer to a login request")?;
    if header[0] & 0x3f != 0x23 || header[36] != 0 || header[1] & 0x83 != 0x83 {
        bail!(
            "login: opcode {:#x}, flags {:#x}, status {:#x} {:#x}",
            header[0],
            header[1],
            header[36],
            header[37]
        );
    }
    Ok(())
}

/// How the target answered a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// SCSI status.
    pub status: u8,
    /// Sense key, additional sense code and its qualifier, if the answer has fixed-format sense data.
    pub sense: Option<(u8, u8, u8)>,
}

/// Writes one block of 512 bytes to LUN 0 by WRITE (10) with immediate data, on a connection that has logged in and
/// sent nothing else, and reads the answer.
///
/// # Errors
/// When the target closes the connection or answers with something else than a SCSI response.
pub fn write_block(stream: &mut TcpStream, block: u32, bytes: &[u8; 512]) -> Result<Answer> {
    let mut pdu = vec![0; HEADER];
    pdu[0] = 0x01; // SCSI Command
    pdu[1] = 0xa1; // final, write, simple task
    pdu[5..8].copy_from_slice(&[0, 2, 0]); // data segment of 512 bytes
    pdu[16..20].copy_from_slice(&[0, 0, 0, 2]); // initiator task tag
    pdu[20..24].copy_from_slice(&512_u32.to_be_bytes()); // expected data transfer length
    pdu[32] = 0x2a; // WRITE (10), SBC-4 5.42
    pdu[34..38].copy_from_slice(&block.to_be_bytes());
    pdu[39..41].copy_from_slice(&[0, 1]);
    pdu.extend_from_slice(bytes);
    stream.write_all(&pdu).context("send a command")?;
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).context("read the answer to a command")?;
    let length = u32::from_be_bytes([0, header[5], header[6], header[7]]).next_multiple_of(4);
    let mut data = vec![0; usize::try_from(length)?];
    stream.read_exact(&mut data).context("read the sense data of an answer")?;
    if header[0] & 0x3f != 0x21 || header[2] != 0 {
        bail!("command: opcode {:#x}, response {:#x}", header[0], header[2]);
    }
    // Two bytes of length stand before the sense data (RFC 7143 11.4.7.1).
    let sense = data.get(2..).filter(|sense| sense.len() >= 14 && sense[0] & 0x7f == 0x70);
    Ok(Answer { status: header[3], sense: sense.map(|sense| (sense[2] & 0xf, sense[12], sense[13])) })
}

/// Reads until the other side closes, and returns how many bytes came.
///
/// # Errors
/// When it is still open after 40 s of silence.
pub fn read_to_close(stream: &mut TcpStream) -> Result<usize> {
    let mut bytes = [0; 4096];
    let mut total = 0;
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return Ok(total),
            Ok(more) => total += more,
            // Bytes of ours that the other side had not read when it closed.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(total),
            Err(error) => return Err(error).context("the other side has not closed the connection"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_request_has_its_length_and_padding() {
        let pdu = login_request(7, "iqn.2026-11.org.lunbox:x");
        let length = usize::from(pdu[6]) * 256 + usize::from(pdu[7]);
        assert_eq!(pdu.len(), HEADER + length.next_multiple_of(4));
        assert_eq!(pdu.len() % 4, 0);
        assert!(pdu[HEADER..HEADER + length].ends_with(b"TargetName=iqn.2026-11.org.lunbox:x\0"));
        assert!(pdu[HEADER + length..].iter().all(|byte| *byte == 0));
        assert_eq!(pdu[13], 7);
    }
}
