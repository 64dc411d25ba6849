//! Text requests in the full feature phase (RFC 7143 11.10, 11.11).

use super::Target;
use crate::login::SessionType;
use crate::login::full_feature::{FullFeature, answer};
use crate::pdu::codes::RejectReason;
use crate::pdu::header::{Bhs, RESERVED_TAG};
use crate::pdu::request::TextRequest;
use crate::pdu::response::TextResponse;
use crate::slab::Key;

impl Target {
    pub(super) fn text(&mut self, key: Key, bhs: Bhs, request: &TextRequest<'_>) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let session = connection.session.and_then(|session| self.sessions.get(session));
        let Some(discovery) = session.map(|session| session.discovery) else { return };
        // A request without a tag begins anew; one with a tag goes on with the exchange that has it.
        let mut assembler = match (connection.text.take(), request.target_transfer_tag) {
            (_, None) => crate::text::TextAssembler::new(),
            (Some((tag, assembler)), Some(named)) if tag == named => assembler,
            (_, Some(_)) => return self.reject(key, RejectReason::ProtocolError, bhs),
        };
        if assembler.push(request.text).is_err() {
            return self.reject(key, RejectReason::LongOperationReject, bhs);
        }
        if request.continues {
            let tag = self.new_transfer_tag();
            if let Some(connection) = self.connections.get_mut(key) {
                connection.text = Some((tag, assembler));
            }
            return self.send_text(key, request, tag, &[]);
        }
        let Some(connection) = self.connections.get(key) else { return };
        let context = FullFeature {
            session_type: if discovery { SessionType::Discovery } else { SessionType::Normal },
            targets: &self.policy.targets,
            target: (!discovery).then_some(0),
            portal: connection.local,
            portal_group_tag: self.policy.portal_group_tag,
            reply_max: u32::try_from(connection.send_limit).unwrap_or(u32::MAX),
        };
        match answer(&assembler.take(), &context) {
            Err(malformed) => self.reject(key, malformed.reason, bhs),
            Ok(answer) => {
                // An initiator that has more to say gets a tag to say it with.
                let tag = if request.is_final { RESERVED_TAG } else { self.new_transfer_tag() };
                if !request.is_final
                    && let Some(connection) = self.connections.get_mut(key)
                {
                    connection.text = Some((tag, crate::text::TextAssembler::new()));
                }
                self.send_text(key, request, tag, &answer.text);
                if let (Some(length), Some(connection)) =
                    (answer.max_send_segment, self.connections.get_mut(key))
                {
                    connection.send_limit = usize::try_from(length).unwrap_or(usize::MAX);
                }
            }
        }
    }

    fn send_text(&mut self, key: Key, request: &TextRequest<'_>, tag: u32, text: &[u8]) {
        let numbers = self.status_numbers(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        let response = TextResponse {
            is_final: tag == RESERVED_TAG,
            continues: false,
            lun: request.lun,
            initiator_task_tag: request.initiator_task_tag,
            target_transfer_tag: tag,
            numbers,
            text,
        };
        response.encode(connection.digests, connection.output.tail());
        self.touch(key);
    }
}
