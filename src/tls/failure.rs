//! Envoy's words for a handshake that failed (`%UPSTREAM_TRANSPORT_FAILURE_REASON%`): its TLS
//! library is BoringSSL, whose error queue they are. Where rustls fails in a way of its own, its
//! words stand in their place.

use std::io;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

use super::verifier::NoSuchIdentity;

/// BoringSSL's number of an error is that of its library, shifted, and that of its reason.
const LIBRARY_SYSTEM: u32 = 2 << 24;
const LIBRARY_SSL: u32 = 16 << 24;

/// Reasons from BoringSSL's `ssl.h`.
const CERTIFICATE_VERIFY_FAILED: u32 = 125;
const HANDSHAKE_FAILURE_ON_CLIENT_HELLO: u32 = 154;
const UNEXPECTED_MESSAGE: u32 = 223;
const WRONG_VERSION_NUMBER: u32 = 247;
/// An alert from the peer is this and the alert's number.
const ALERT: u32 = 1000;

/// Why a handshake failed; `None` if the connection just ended.
pub(super) fn transport_failure_reason(error: &io::Error) -> Option<String> {
    let reason = match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => tls_error(error),
        None if error.kind() == io::ErrorKind::UnexpectedEof => return None,
        None => system(error),
    };
    Some(format!("TLS_error:|{reason}:TLS_error_end"))
}

fn tls_error(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => {
            let failed = ssl(CERTIFICATE_VERIFY_FAILED, "CERTIFICATE_VERIFY_FAILED");
            format!("{failed}:verify cert failed: {}", verification(error))
        }
        Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            // A client that has a certificate gets it for what it offered.
            let received = alert(AlertDescription::HandshakeFailure);
            let meant = ssl(HANDSHAKE_FAILURE_ON_CLIENT_HELLO, "HANDSHAKE_FAILURE_ON_CLIENT_HELLO");
            format!("{received}|{meant}")
        }
        Error::AlertReceived(received) => alert(*received),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => ssl(WRONG_VERSION_NUMBER, "WRONG_VERSION_NUMBER"),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            ssl(UNEXPECTED_MESSAGE, "UNEXPECTED_MESSAGE")
        }
        other => other.to_string(),
    }
}

fn ssl(reason: u32, name: &str) -> String {
    format!("{}:SSL routines:OPENSSL_internal:{name}", LIBRARY_SSL + reason)
}

fn system(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    match error.raw_os_error().and_then(|number| u32::try_from(number).ok()) {
        Some(number) => format!("{}:system library:OPENSSL_internal:{text}", LIBRARY_SYSTEM + number),
        None => text.to_owned(),
    }
}

/// What is wrong with a certificate, in the words of `X509_verify_cert`.
fn verification(error: &CertificateError) -> String {
    use CertificateError as E;
    let words = match error {
        E::UnknownIssuer => "unable to get local issuer certificate",
        E::Expired | E::ExpiredContext { .. } => "certificate has expired",
        E::NotValidYet | E::NotValidYetContext { .. } => "certificate is not yet valid",
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => "unsupported certificate purpose",
        E::Other(other) => match other.0.downcast_ref::<NoSuchIdentity>() {
            Some(no_such_identity) => return no_such_identity.to_string(),
            None => return other.to_string(),
        },
        error => return error.to_string(),
    };
    format!("X509_verify_cert: certificate verification error at depth 0: {words}")
}

/// An alert under the name that BoringSSL has for it.
fn alert(received: AlertDescription) -> String {
    use AlertDescription as A;
    let name = match received {
        A::UnexpectedMessage => "SSLV3_ALERT_UNEXPECTED_MESSAGE",
        A::BadRecordMac => "SSLV3_ALERT_BAD_RECORD_MAC",
        A::HandshakeFailure => "SSLV3_ALERT_HANDSHAKE_FAILURE",
        A::BadCertificate => "SSLV3_ALERT_BAD_CERTIFICATE",
        A::UnsupportedCertificate => "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        A::CertificateRevoked => "SSLV3_ALERT_CERTIFICATE_REVOKED",
        A::CertificateExpired => "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        A::CertificateUnknown => "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        A::IllegalParameter => "SSLV3_ALERT_ILLEGAL_PARAMETER",
        A::UnknownCA => "TLSV1_ALERT_UNKNOWN_CA",
        A::AccessDenied => "TLSV1_ALERT_ACCESS_DENIED",
        A::DecodeError => "TLSV1_ALERT_DECODE_ERROR",
        A::DecryptError => "TLSV1_ALERT_DECRYPT_ERROR",
        A::ProtocolVersion => "TLSV1_ALERT_PROTOCOL_VERSION",
        A::InsufficientSecurity => "TLSV1_ALERT_INSUFFICIENT_SECURITY",
        A::InternalError => "TLSV1_ALERT_INTERNAL_ERROR",
        A::UnsupportedExtension => "TLSV1_ALERT_UNSUPPORTED_EXTENSION",
        A::UnrecognisedName => "TLSV1_ALERT_UNRECOGNIZED_NAME",
        A::CertificateRequired => "TLSV1_ALERT_CERTIFICATE_REQUIRED",
        A::NoApplicationProtocol => "TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
        other => return format!("{}:{other:?}", LIBRARY_SSL + ALERT + u32::from(u8::from(other))),
    };
    ssl(ALERT + u32::from(u8::from(received)), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(error: Error) -> String {
        transport_failure_reason(&io::Error::new(io::ErrorKind::InvalidData, error)).unwrap()
    }

    #[test]
    fn failures_have_boringssls_numbers_and_names() {
        let verify_failed = "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:\
                             verify cert failed: X509_verify_cert: certificate verification error at depth 0: ";
        for (error, expected) in [
            (
                Error::InvalidCertificate(CertificateError::UnknownIssuer),
                format!("{verify_failed}unable to get local issuer certificate:TLS_error_end"),
            ),
            (
                Error::InvalidCertificate(CertificateError::Expired),
                format!("{verify_failed}certificate has expired:TLS_error_end"),
            ),
            (
                Error::AlertReceived(AlertDescription::UnknownCA),
                "TLS_error:|268436504:SSL routines:OPENSSL_internal:TLSV1_ALERT_UNKNOWN_CA:TLS_error_end".to_owned(),
            ),
            (
                Error::AlertReceived(AlertDescription::ProtocolVersion),
                "TLS_error:|268436526:SSL routines:OPENSSL_internal:TLSV1_ALERT_PROTOCOL_VERSION:TLS_error_end"
                    .to_owned(),
            ),
            (
                Error::AlertReceived(AlertDescription::HandshakeFailure),
                "TLS_error:|268436496:SSL routines:OPENSSL_internal:SSLV3_ALERT_HANDSHAKE_FAILURE|\
                 268435610:SSL routines:OPENSSL_internal:HANDSHAKE_FAILURE_ON_CLIENT_HELLO:TLS_error_end"
                    .to_owned(),
            ),
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                "TLS_error:|268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end".to_owned(),
            ),
        ] {
            assert_eq!(reason(error), expected);
        }
    }

    #[test]
    fn a_connection_that_just_ends_has_no_reason_and_a_reset_one_has() {
        assert_eq!(transport_failure_reason(&io::ErrorKind::UnexpectedEof.into()), None);
        let reset = io::Error::from_raw_os_error(nix::libc::ECONNRESET);
        let number = LIBRARY_SYSTEM + nix::libc::ECONNRESET.unsigned_abs();
        assert_eq!(
            transport_failure_reason(&reset).unwrap(),
            format!(
                "TLS_error:|{number}:system library:OPENSSL_internal:Connection reset by peer:TLS_error_end"
            )
        );
    }
}
