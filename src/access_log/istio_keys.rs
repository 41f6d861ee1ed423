//! The keys of Istio's JSON access log (`EnvoyJSONLogFormatIstio`), each with a number, so that a
//! line says where it has each of them, and nobody looks through all of its keys.

/// How many keys there are.
pub(super) const COUNT: usize = 24;

macro_rules! keys {
    ($($number:literal $key:literal),* $(,)?) => {
        /// The key as Istio writes it, which lives as long as the program, and its number, below
        /// [`COUNT`]. Of a key that is known when this is compiled nothing is left to do.
        #[inline]
        pub(super) fn istio_key(key: &str) -> Option<(&'static str, usize)> {
            match key {
                $($key => Some(($key, $number)),)*
                _ => None,
            }
        }

        #[cfg(test)]
        const ALL: [(&str, usize); COUNT] = [$(($key, $number)),*];
    };
}

keys! {
    0 "authority",
    1 "bytes_received",
    2 "bytes_sent",
    3 "connection_termination_details",
    4 "downstream_local_address",
    5 "downstream_remote_address",
    6 "duration",
    7 "method",
    8 "path",
    9 "protocol",
    10 "request_id",
    11 "requested_server_name",
    12 "response_code",
    13 "response_code_details",
    14 "response_flags",
    15 "route_name",
    16 "start_time",
    17 "upstream_cluster",
    18 "upstream_host",
    19 "upstream_local_address",
    20 "upstream_service_time",
    21 "upstream_transport_failure_reason",
    22 "user_agent",
    23 "x_forwarded_for",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_a_number_of_its_own_and_nothing_else_has_one() {
        for (index, (key, number)) in ALL.into_iter().enumerate() {
            assert_eq!((istio_key(key), number), (Some((key, index)), index));
        }
        assert_eq!(istio_key("x_request_id"), None);
    }
}
