//! TCP: a connection to a host by its name.
//!
//! Owns which of a name's addresses are tried, in which order and from which local address. What is said over the connection is
//! left to [`crate::ssh`].

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::open_files;
use crate::ssh::ConnectError;
use crate::ssh_config::AddressFamily;

/// How long one address of a name may take to answer before it is given up.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an address of a name may take to answer before the next is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);

/// Addresses of one name that are tried, at most.
const MAX_ADDRESSES: usize = 16;

/// From which of our addresses to which of the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// Which addresses of the name are tried.
    pub family: AddressFamily,
    /// The name or address of ours to connect from (`BindAddress`).
    pub bind: Option<String>,
}

/// Connects to the first address that answers.
///
/// # Errors
/// Says for each address why not, and what to do.
pub async fn connect(hostname: &str, port: u16, route: &Route) -> Result<TcpStream, ConnectError> {
    let bind = match &route.bind {
        None => Vec::new(),
        Some(name) => lookup(name, 0).await?,
    };
    let found = lookup(hostname, port).await?;
    let ways = ways(&found, &bind, route.family);
    if ways.is_empty() {
        return Err(no_way(hostname, route, &bind));
    }
    let mut ways = ways.into_iter();
    let mut attempts = JoinSet::new();
    let mut failures = Vec::new();
    let mut begin = |attempts: &mut JoinSet<_>| {
        let way = ways.next();
        if let Some((address, from)) = way {
            attempts.spawn(async move { (address, attempt(address, from).await) });
        }
        way.is_some()
    };
    let mut is_more = begin(&mut attempts);
    loop {
        tokio::select! {
            done = attempts.join_next() => match done {
                Some(Ok((_, Ok(socket)))) => {
                    // Without it every small packet of the handshake waits for an acknowledgement: 97 ms instead of 27.
                    let _ = socket.set_nodelay(true);
                    return Ok(socket);
                }
                Some(Ok((address, Err(why)))) => {
                    failures.push(format!("{address}: {why}"));
                    is_more = is_more && begin(&mut attempts);
                }
                Some(Err(error)) => failures.push(error.to_string()),
                None => return Err(ConnectError::Unreachable(failures.join("; "))),
            },
            () = tokio::time::sleep(STAGGER), if is_more => is_more = begin(&mut attempts),
        }
    }
}

async fn lookup(name: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    tokio::net::lookup_host((name, port))
        .await
        .map(Iterator::collect)
        .map_err(|error| ConnectError::Resolve {
            name: name.to_owned(),
            why: error.to_string(),
        })
}

/// A host's address, and ours to reach it from.
type Way = (SocketAddr, Option<IpAddr>);

/// The addresses to try, the families in turn, each with an address of ours of its family.
fn ways(found: &[SocketAddr], bind: &[SocketAddr], family: AddressFamily) -> Vec<Way> {
    let fits = |address: &&SocketAddr| match family {
        AddressFamily::Any => true,
        AddressFamily::Inet => address.is_ipv4(),
        AddressFamily::Inet6 => address.is_ipv6(),
    };
    let way = |address: &SocketAddr| {
        let from = bind
            .iter()
            .find(|own| own.is_ipv4() == address.is_ipv4())
            .map(SocketAddr::ip);
        (bind.is_empty() || from.is_some()).then_some((*address, from))
    };
    let all: Vec<Way> = found.iter().filter(fits).filter_map(way).collect();
    let Some((first, _)) = all.first() else {
        return all;
    };
    // The resolver's first choice begins, and then the families take turns: a family that is broken costs one stagger only.
    let (mut same, mut other): (Vec<Way>, Vec<Way>) = all
        .iter()
        .partition(|(address, _)| address.is_ipv4() == first.is_ipv4());
    same.reverse();
    other.reverse();
    let mut turns = Vec::with_capacity(all.len());
    while turns.len() < MAX_ADDRESSES {
        let before = turns.len();
        turns.extend(same.pop());
        turns.extend(other.pop());
        if turns.len() == before {
            break;
        }
    }
    turns
}

fn no_way(hostname: &str, route: &Route, bind: &[SocketAddr]) -> ConnectError {
    let family = match route.family {
        AddressFamily::Any => "",
        AddressFamily::Inet => " of IPv4 (AddressFamily inet)",
        AddressFamily::Inet6 => " of IPv6 (AddressFamily inet6)",
    };
    let from = match (&route.bind, bind.is_empty()) {
        (Some(name), false) => format!(" that can be reached from {name} (BindAddress)"),
        _ => String::new(),
    };
    ConnectError::Resolve {
        name: hostname.to_owned(),
        why: format!("it has no address{family}{from}"),
    }
}

async fn attempt(address: SocketAddr, from: Option<IpAddr>) -> Result<TcpStream, String> {
    let connecting = async {
        match from {
            None => TcpStream::connect(address)
                .await
                .map_err(|error| why(&error)),
            Some(own) => {
                let socket = if address.is_ipv4() {
                    TcpSocket::new_v4()
                } else {
                    TcpSocket::new_v6()
                }
                .map_err(|error| why(&error))?;
                socket.bind(SocketAddr::new(own, 0)).map_err(|error| {
                    format!("cannot connect from {own} (BindAddress): {}", plain(&error))
                })?;
                socket.connect(address).await.map_err(|error| why(&error))
            }
        }
    };
    tokio::time::timeout(ADDRESS_TIMEOUT, connecting)
        .await
        .unwrap_or_else(|_| {
            Err(format!(
                "no answer within {} s: check that the host is up, and that no firewall is between",
                ADDRESS_TIMEOUT.as_secs()
            ))
        })
}

/// What the system says, and what to do about it.
fn why(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    let remedy = match error.kind() {
        ErrorKind::ConnectionRefused => {
            ": no SSH server listens there; check the port, and that it runs"
        }
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::TimedOut => {
            ": check that the host is up, and that this network leads to it"
        }
        _ => match open_files::remedy(error) {
            Some(remedy) => return format!("{}: {remedy}", plain(error)),
            None => "",
        },
    };
    format!("{}{remedy}", plain(error))
}

/// An I/O error in words, without the operating system's number.
pub fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts
            .iter()
            .map(|text| SocketAddr::new(text.parse().expect("an address"), 22))
            .collect()
    }

    fn shown(ways: &[Way]) -> Vec<String> {
        ways.iter()
            .map(|(address, from)| match from {
                None => address.ip().to_string(),
                Some(from) => format!("{from}>{}", address.ip()),
            })
            .collect()
    }

    #[test]
    fn families_take_turns_and_the_resolvers_first_choice_is_first() {
        let found = addresses(&["::1", "::2", "::3", "10.0.0.1"]);
        let all = ways(&found, &[], AddressFamily::Any);
        assert_eq!(shown(&all), ["::1", "10.0.0.1", "::2", "::3"]);
        let four = ways(&found, &[], AddressFamily::Inet);
        assert_eq!(shown(&four), ["10.0.0.1"]);
        let six = ways(&found, &[], AddressFamily::Inet6);
        assert_eq!(shown(&six), ["::1", "::2", "::3"]);
    }

    #[test]
    fn an_own_address_leaves_only_its_family() {
        let found = addresses(&["::1", "10.0.0.1"]);
        let own = addresses(&["127.0.0.9"]);
        let all = ways(&found, &own, AddressFamily::Any);
        assert_eq!(shown(&all), ["127.0.0.9>10.0.0.1"]);
        assert!(ways(&found, &own, AddressFamily::Inet6).is_empty());
    }

    #[test]
    fn a_name_with_a_thousand_addresses_has_a_few_tried() {
        let found = vec![addresses(&["10.0.0.1"])[0]; 1000];
        assert_eq!(ways(&found, &[], AddressFamily::Any).len(), MAX_ADDRESSES);
    }

    #[tokio::test]
    async fn an_own_address_is_used_and_a_closed_port_is_said_with_what_to_do() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let route = Route {
            bind: Some("127.0.0.7".to_owned()),
            ..Route::default()
        };
        let (socket, accepted) =
            tokio::join!(connect("127.0.0.1", port, &route), listener.accept());
        socket.expect("a connection");
        assert_eq!(accepted.expect("it").1.ip().to_string(), "127.0.0.7");
        // A port that is taken and not listened on: nobody else can open it meanwhile.
        let taken = tokio::net::TcpSocket::new_v4().expect("a socket");
        taken
            .bind(([127, 0, 0, 1], 0).into())
            .expect("a port of its own");
        let port = taken.local_addr().expect("its address").port();
        let error = connect("127.0.0.1", port, &Route::default())
            .await
            .expect_err("nobody listens");
        let text = error.to_string();
        assert!(text.contains("connection refused: no SSH server"), "{text}");
        let six = Route {
            family: AddressFamily::Inet6,
            bind: None,
        };
        let error = connect("127.0.0.1", port, &six)
            .await
            .expect_err("an IPv4 address");
        assert!(error.to_string().contains("AddressFamily inet6"), "{error}");
    }
}
