//! The close codes of RFC 6455 section 7.4 and the IANA registry, with the names that clients show.
