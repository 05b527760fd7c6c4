//! Peers that have not said who they are: how long they may stay, and how many from one place.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::watch;

/// Limits for connections of which no request was let in yet.
///
/// Whatever serves requests has to call [`Guest::admit`] for those it lets in.
#[derive(Debug, Clone)]
pub struct Strangers {
    /// How long a connection may take until a request of it is let in, its handshake included.
    pub deadline: Duration,
    /// How many such connections one address may have at once; of IPv6 the first 64 bits are one
    /// address, which is what a host is given at least.
    pub per_address: usize,
    /// Counts the connections that were closed because of these limits.
    pub turned_away: Counter,
}

/// How a connection stands: an extension of every request of a server with [`Strangers`].
#[derive(Debug, Clone)]
pub struct Guest(Arc<State>);

#[derive(Debug)]
struct State {
    is_admitted: watch::Sender<bool>,
    /// Taken when the peer is admitted.
    place: Mutex<Option<Place>>,
}

/// One of the places for strangers from an address. Dropping it gives it up.
#[derive(Debug)]
struct Place {
    lobby: Lobby,
    address: IpAddr,
}

/// Where strangers wait.
#[derive(Debug, Clone)]
pub(super) struct Lobby {
    pub(super) limits: Strangers,
    taken: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

impl Lobby {
    pub(super) fn new(limits: Strangers) -> Self {
        Self {
            limits,
            taken: Arc::default(),
        }
    }

    /// A place for a new connection; none if all of its address are taken.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Guest> {
        let address = one_host(address);
        let mut taken = self.taken.lock();
        let count = taken.entry(address).or_default();
        if *count >= self.limits.per_address {
            return None;
        }
        *count += 1;
        drop(taken);
        let place = Place {
            lobby: self.clone(),
            address,
        };
        Some(Guest(Arc::new(State {
            is_admitted: watch::Sender::new(false),
            place: Mutex::new(Some(place)),
        })))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.lobby.taken.lock();
        if let Some(count) = taken.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

impl Guest {
    /// The peer is known: the limits for strangers no longer concern its connection.
    pub fn admit(&self) {
        if !self.0.is_admitted.send_replace(true) {
            drop(self.0.place.lock().take());
        }
    }

    /// Resolves when the peer has been a stranger for too long.
    pub(super) async fn overstays(&self, deadline: Duration) {
        let mut is_admitted = self.0.is_admitted.subscribe();
        let admitted = is_admitted.wait_for(|is_admitted| *is_admitted);
        if tokio::time::timeout(deadline, admitted).await.is_ok() {
            std::future::pending::<()>().await;
        }
    }
}

/// The part of an address that its host cannot choose.
fn one_host(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let network = v6.to_bits() & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lobby(per_address: usize) -> Lobby {
        Lobby::new(Strangers {
            deadline: Duration::from_secs(10),
            per_address,
            turned_away: Counter::default(),
        })
    }

    #[test]
    fn an_address_has_so_many_places_and_who_is_known_needs_none() {
        let lobby = lobby(2);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = lobby.enter(address("2001:db8::1")).unwrap();
        let second = lobby.enter(address("2001:db8::2")).unwrap();
        assert!(lobby.enter(address("2001:db8::3")).is_none());
        let elsewhere = lobby.enter(address("2001:db8:0:1::1")).unwrap();
        let v4 = lobby.enter(address("192.0.2.1")).unwrap();
        first.admit();
        first.admit();
        let third = lobby.enter(address("2001:db8::3")).unwrap();
        assert!(lobby.enter(address("2001:db8::4")).is_none());
        drop(second);
        lobby.enter(address("2001:db8::4")).unwrap();
        drop((third, elsewhere, v4, first));
        assert!(lobby.taken.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_overstays_and_a_guest_does_not() {
        let guest = lobby(1).enter(IpAddr::from([127, 0, 0, 1])).unwrap();
        guest.overstays(Duration::from_secs(10)).await;
        guest.admit();
        let overstays = guest.overstays(Duration::from_secs(10));
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, overstays).await.is_err());
    }
}
