//! The numbers of RFC 7143: opcodes, functions, responses, reasons, events and login statuses.

/// Declares an enumeration whose members have a code on the wire.
macro_rules! codes {
    ($(#[$about:meta])* $name:ident: $repr:ty { $($(#[$doc:meta])* $member:ident = $code:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $member,)+ }

        impl $name {
            /// All members in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$member),+];

            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> $repr {
                match self { $(Self::$member => $code,)+ }
            }

            /// The member with this number; `None` where the standard defines none.
            #[must_use]
            pub const fn from_code(code: $repr) -> Option<Self> {
                match code { $($code => Some(Self::$member),)+ _ => None }
            }
        }
    };
}

codes! {
    /// What initiators send (RFC 7143 clause 11.2.1.2).
    InitiatorOpcode: u8 {
        /// NOP-Out: a ping, or the answer to the target's ping.
        NopOut = 0x00,
        /// A SCSI command.
        ScsiCommand = 0x01,
        /// A task management function.
        TaskManagement = 0x02,
        /// A login request.
        Login = 0x03,
        /// A text request.
        Text = 0x04,
        /// Data of a write.
        DataOut = 0x05,
        /// A logout request.
        Logout = 0x06,
        /// A request to send something again.
        Snack = 0x10,
    }
}

codes! {
    /// What targets send (RFC 7143 clause 11.2.1.2).
    TargetOpcode: u8 {
        /// NOP-In: the answer to a ping, or the target's ping.
        NopIn = 0x20,
        /// The status of a SCSI command.
        ScsiResponse = 0x21,
        /// The result of a task management function.
        TaskManagementResponse = 0x22,
        /// A login response.
        LoginResponse = 0x23,
        /// A text response.
        TextResponse = 0x24,
        /// Data of a read.
        DataIn = 0x25,
        /// A logout response.
        LogoutResponse = 0x26,
        /// Ready To Transfer: the target asks for data.
        R2t = 0x31,
        /// An asynchronous message.
        AsyncMessage = 0x32,
        /// A PDU was refused.
        Reject = 0x3f,
    }
}

codes! {
    /// Task attribute of a SCSI command (RFC 7143 clause 11.3.1.1).
    TaskAttribute: u8 {
        /// No attribute.
        Untagged = 0,
        /// SIMPLE.
        Simple = 1,
        /// ORDERED.
        Ordered = 2,
        /// HEAD OF QUEUE.
        HeadOfQueue = 3,
        /// ACA.
        Aca = 4,
    }
}

codes! {
    /// Task management functions (RFC 7143 clause 11.5.1).
    TaskFunction: u8 {
        /// Abort the task that the Referenced Task Tag names.
        AbortTask = 1,
        /// Abort the session's tasks on the logical unit.
        AbortTaskSet = 2,
        /// Clear the auto contingent allegiance.
        ClearAca = 3,
        /// Abort every session's tasks on the logical unit.
        ClearTaskSet = 4,
        /// Reset the logical unit.
        LogicalUnitReset = 5,
        /// Reset all logical units of the target.
        TargetWarmReset = 6,
        /// Reset the target and close all its connections.
        TargetColdReset = 7,
        /// Move a task to this connection (error recovery level 2).
        TaskReassign = 8,
    }
}

codes! {
    /// Results of task management functions (RFC 7143 clause 11.6.1).
    TaskManagementResult: u8 {
        /// Done.
        Complete = 0,
        /// There is no such task.
        TaskDoesNotExist = 1,
        /// There is no such logical unit.
        LunDoesNotExist = 2,
        /// The task is still bound to its connection.
        TaskStillAllegiant = 3,
        /// Tasks can not be moved between connections.
        ReassignmentNotSupported = 4,
        /// The function is not supported.
        NotSupported = 5,
        /// The initiator may not do that.
        AuthorizationFailed = 6,
        /// Refused for another reason.
        Rejected = 255,
    }
}

codes! {
    /// Reasons of a Reject (RFC 7143 clause 11.17.1).
    RejectReason: u8 {
        /// The data digest was wrong.
        DataDigestError = 0x02,
        /// The SNACK can not be served.
        SnackReject = 0x03,
        /// The PDU came at a time or in an order that the protocol forbids.
        ProtocolError = 0x04,
        /// The opcode is not supported.
        CommandNotSupported = 0x05,
        /// Too many immediate commands.
        ImmediateCommandReject = 0x06,
        /// The Initiator Task Tag is in use.
        TaskInProgress = 0x07,
        /// A data acknowledgement for nothing.
        InvalidDataAck = 0x08,
        /// A field of the PDU has a value that it may not have.
        InvalidPduField = 0x09,
        /// No more target transfer tags or other resources for a long operation.
        LongOperationReject = 0x0a,
        /// A negotiation was reset (deprecated by RFC 7143).
        NegotiationReset = 0x0b,
        /// The target waits for a logout.
        WaitingForLogout = 0x0c,
    }
}

codes! {
    /// What a logout is for (RFC 7143 clause 11.14.1).
    LogoutReason: u8 {
        /// Close the session with all its connections.
        CloseSession = 0,
        /// Close the connection that the request names.
        CloseConnection = 1,
        /// Remove the connection so that its tasks can be moved (error recovery level 2).
        RemoveForRecovery = 2,
    }
}

codes! {
    /// Results of a logout (RFC 7143 clause 11.15.1).
    LogoutResult: u8 {
        /// The connection or session is closed.
        Closed = 0,
        /// The session has no connection with that identifier.
        CidNotFound = 1,
        /// Connection recovery is not supported.
        RecoveryNotSupported = 2,
        /// Cleaning up failed.
        CleanupFailed = 3,
    }
}

codes! {
    /// Kinds of SNACK (RFC 7143 clause 11.16.1).
    SnackKind: u8 {
        /// Send Data-In or R2T again.
        DataOrR2t = 0,
        /// Send statuses again.
        Status = 1,
        /// Data was received.
        DataAck = 2,
        /// Send data again, cut anew.
        ResegmentedData = 3,
    }
}

codes! {
    /// Events of an asynchronous message (RFC 7143 clause 11.9.1).
    AsyncEvent: u8 {
        /// SCSI asynchronous event with sense data.
        ScsiEvent = 0,
        /// The target asks for a logout; parameter 3 is the time in seconds.
        LogoutRequest = 1,
        /// The target will drop the connection of parameter 1.
        ConnectionDrop = 2,
        /// The target will drop all connections of the session.
        SessionDrop = 3,
        /// The target asks for a parameter negotiation; parameter 3 is the time in seconds.
        NegotiationRequest = 4,
        /// All tasks of the logical unit were ended (task reporting FastAbort).
        TasksTerminated = 5,
        /// Vendor specific.
        VendorSpecific = 255,
    }
}

codes! {
    /// Status class (high byte) and detail (low byte) of a login response (RFC 7143 clause 11.13.5).
    LoginStatus: u16 {
        /// Go on.
        Success = 0x0000,
        /// The target has moved for now; its address follows.
        TargetMovedTemporarily = 0x0101,
        /// The target has moved for good; its address follows.
        TargetMovedPermanently = 0x0102,
        /// The initiator made a mistake that has no detail of its own.
        InitiatorError = 0x0200,
        /// The initiator could not be authenticated, or the target asks for a method that was not offered.
        AuthenticationFailure = 0x0201,
        /// The initiator may not access the target.
        AuthorizationFailure = 0x0202,
        /// There is no such target.
        NotFound = 0x0203,
        /// The target has been removed and no address is known.
        TargetRemoved = 0x0204,
        /// No common protocol version.
        UnsupportedVersion = 0x0205,
        /// The session has as many connections as it may have.
        TooManyConnections = 0x0206,
        /// A key that must be there is missing.
        MissingParameter = 0x0207,
        /// The connection can not be added to the session.
        CannotIncludeInSession = 0x0208,
        /// The type of session is not supported.
        SessionTypeNotSupported = 0x0209,
        /// The session that is to be joined does not exist.
        SessionDoesNotExist = 0x020a,
        /// A PDU other than a login request came during login.
        InvalidDuringLogin = 0x020b,
        /// The target failed.
        TargetError = 0x0300,
        /// The target is there but not ready.
        ServiceUnavailable = 0x0301,
        /// The target has no resources left.
        OutOfResources = 0x0302,
    }
}

impl LoginStatus {
    /// Status-Class: 0 success, 1 redirection, 2 initiator's error, 3 target's error.
    #[must_use]
    pub const fn class(self) -> u8 {
        self.code().to_be_bytes()[0]
    }

    /// Status-Detail.
    #[must_use]
    pub const fn detail(self) -> u8 {
        self.code().to_be_bytes()[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_members_are_one_to_one() {
        let known: Vec<u8> = (0..=255).filter(|&code| RejectReason::from_code(code).is_some()).collect();
        assert_eq!(known, RejectReason::ALL.iter().map(|member| member.code()).collect::<Vec<_>>());
        for &status in LoginStatus::ALL {
            assert_eq!(LoginStatus::from_code(status.code()), Some(status));
        }
        let status = LoginStatus::SessionDoesNotExist;
        assert_eq!((status.class(), status.detail()), (2, 0x0a));
        assert_eq!(InitiatorOpcode::from_code(0x07), None);
        assert_eq!(TargetOpcode::from_code(0x3f), Some(TargetOpcode::Reject));
    }
}
