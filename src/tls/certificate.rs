//! What Envoy shows of a certificate: its names, and the element of `x-forwarded-client-cert` that
//! describes it (`ConnectionManagerUtility::mutateXfccRequestHeader`, with subject, URI and DNS as
//! Istio asks for).

use std::fmt::Write;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::ToDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Name};

/// The short names that BoringSSL prints attributes of a subject under; another attribute is its
/// number and its bytes.
const ATTRIBUTES: [(&str, &str); 25] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.20", "telephoneNumber"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.44", "generationQualifier"),
    ("2.5.4.45", "x500UniqueIdentifier"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.65", "pseudonym"),
    ("2.5.4.72", "role"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// The names of a certificate's subject.
#[derive(Debug, Default)]
pub(super) struct SubjectAltNames {
    pub(super) uris: Vec<String>,
    pub(super) dns_names: Vec<String>,
    /// Of every kind, in the certificate's order.
    pub(super) all: Vec<String>,
}

impl SubjectAltNames {
    /// Those of a certificate; `None` if it cannot be read.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        Self::in_certificate(&certificate)
    }

    fn in_certificate(certificate: &X509Certificate<'_>) -> Option<Self> {
        let mut names = Self::default();
        let Some(extension) = certificate.subject_alternative_name().ok()? else { return Some(names) };
        for name in &extension.value.general_names {
            let text = match name {
                GeneralName::URI(uri) => {
                    names.uris.push((*uri).to_owned());
                    (*uri).to_owned()
                }
                GeneralName::DNSName(dns_name) => {
                    names.dns_names.push((*dns_name).to_owned());
                    (*dns_name).to_owned()
                }
                GeneralName::RFC822Name(address) => (*address).to_owned(),
                GeneralName::IPAddress(bytes) => match ip_address(bytes) {
                    Some(address) => address.to_string(),
                    None => continue,
                },
                _ => continue,
            };
            names.all.push(text);
        }
        Some(names)
    }
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// `By=…;Hash=…;Cert="…";Subject="…";URI=…;DNS=…`: who was asked, and what the peer's certificate says
/// of itself; itself only if it is to be shown.
pub(super) fn forwarded_client_cert(
    asked: &[String],
    peer: &CertificateDer<'_>,
    shows_certificate: bool,
) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(peer).ok()?;
    let names = SubjectAltNames::in_certificate(&certificate)?;
    let mut details: Vec<String> = asked.iter().map(|uri| format!("By={uri}")).collect();
    let digest = ring::digest::digest(&ring::digest::SHA256, peer);
    details.push(format!("Hash={}", hexadecimal(digest.as_ref())));
    if shows_certificate {
        details.push(format!("Cert=\"{}\"", escaped_pem(peer)));
    }
    details.push(format!("Subject=\"{}\"", subject(certificate.subject())));
    details.extend(names.uris.iter().map(|uri| format!("URI={uri}")));
    details.extend(names.dns_names.iter().map(|dns_name| format!("DNS={dns_name}")));
    Some(details.join(";"))
}

/// A certificate in PEM, escaped as in a URL (Envoy's `urlEncodedPemEncodedPeerCertificate`).
fn escaped_pem(certificate: &CertificateDer<'_>) -> String {
    let encoded = STANDARD.encode(certificate);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in encoded.as_bytes().chunks(64) {
        pem.extend(line.iter().copied().map(char::from));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    let escapes = [(" ", "%20"), ("\n", "%0A"), ("+", "%2B"), ("/", "%2F"), ("=", "%3D")];
    escapes.into_iter().fold(pem, |pem, (character, escape)| pem.replace(character, escape))
}

/// A certificate as it is shown to a person.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Description {
    /// The subject: whose certificate it is.
    pub subject: String,
    /// The issuer, who vouches for that.
    pub issuer: String,
    /// Its alternative names: hosts, addresses, URIs.
    pub names: Vec<String>,
    /// The end of its validity.
    pub not_after: String,
}

/// Describes a certificate; `None` if it cannot be read.
pub(super) fn describe(certificate: &CertificateDer<'_>) -> Option<Description> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(Description {
        subject: subject(certificate.subject()),
        issuer: subject(certificate.issuer()),
        names: SubjectAltNames::in_certificate(&certificate)?.all,
        not_after: certificate.validity().not_after.to_string(),
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A distinguished name as RFC 2253 writes it, the last part first, in BoringSSL's way
/// (`XN_FLAG_RFC2253`): only ASCII.
fn subject(name: &X509Name<'_>) -> String {
    let parts: Vec<&_> = name.iter_rdn().collect();
    let mut text = String::new();
    for part in parts.into_iter().rev() {
        let attributes: Vec<&_> = part.iter().collect();
        for (index, attribute) in attributes.into_iter().rev().enumerate() {
            if !text.is_empty() {
                text.push(if index == 0 { ',' } else { '+' });
            }
            let kind = attribute.attr_type().to_id_string();
            let known = ATTRIBUTES.iter().find(|(number, _)| *number == kind);
            if let (Some((_, short)), Ok(value)) = (known, attribute.as_str()) {
                let _ = write!(text, "{short}={}", escaped(value));
            } else {
                let bytes = attribute.attr_value().to_der_vec().unwrap_or_default();
                let _ = write!(text, "{kind}=#{}", hexadecimal(&bytes).to_uppercase());
            }
        }
    }
    text
}

/// RFC 2253 section 2.4; what is not printable ASCII as the hexadecimal bytes of its UTF-8.
fn escaped(value: &str) -> String {
    let last = value.len().saturating_sub(1);
    let mut text = String::with_capacity(value.len());
    for (index, byte) in value.bytes().enumerate() {
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => text.extend(['\\', char::from(byte)]),
            b'#' if index == 0 => text.push_str("\\#"),
            b' ' if index == 0 || index == last => text.push_str("\\ "),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\{byte:02X}");
            }
        }
    }
    text
}
