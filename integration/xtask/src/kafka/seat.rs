use super::port::{PortClaim, require_free};
use crate::error::{Error, Result};

/// A broker's place in its cluster: who it is, where it listens, and where all controllers are.
///
/// Every broker is a controller as well, so that any one of three can go.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    /// 1 for the first broker.
    pub(super) node: u16,
    /// The port for clients.
    pub(super) port: u16,
    /// The port for clients that log in, if the settings want one.
    pub(super) login_port: u16,
    /// The ports of the controllers for each other, by node.
    pub(super) controller_ports: Vec<u16>,
}

/// A seat, and the claims that keep its ports ours.
pub(super) struct ClaimedSeat {
    pub(super) seat: Seat,
    pub(super) claims: Vec<PortClaim>,
}

const REPLICAS_MAX: usize = 3;

impl Seat {
    /// Seats for `count` brokers, on `port` and the ports that follow it; 0 takes free ones.
    pub(super) fn claim(port: u16, count: usize) -> Result<Vec<ClaimedSeat>> {
        let controllers = (0..count).map(|_| PortClaim::any()).collect::<Result<Vec<_>>>()?;
        let controller_ports: Vec<_> = controllers.iter().map(|claim| claim.port).collect();
        let mut seats = Vec::new();
        for (node, controller) in (1..).zip(controllers) {
            let login = PortClaim::any()?;
            let login_port = login.port;
            let mut claims = vec![controller, login];
            let port = if port == 0 {
                claims.push(PortClaim::any()?);
                claims[2].port
            } else {
                let beyond =
                    || Error::Broker(format!("{count} brokers from port {port} on: there are no such ports"));
                port.checked_add(node - 1).ok_or_else(beyond)?
            };
            require_free(port)?;
            let seat = Self { node, port, login_port, controller_ports: controller_ports.clone() };
            seats.push(ClaimedSeat { seat, claims });
        }
        Ok(seats)
    }

    pub(super) fn index(&self) -> usize {
        usize::from(self.node) - 1
    }

    pub(super) fn is_lone(&self) -> bool {
        self.controller_ports.len() == 1
    }

    pub(super) fn controller_port(&self) -> u16 {
        self.controller_ports[self.index()]
    }

    /// `controller.quorum.voters`.
    pub(super) fn voters(&self) -> String {
        let nodes = 1..=self.controller_ports.len();
        let voters = nodes.zip(&self.controller_ports).map(|(node, port)| format!("{node}@127.0.0.1:{port}"));
        voters.collect::<Vec<_>>().join(",")
    }

    /// Replicas of a partition.
    pub(super) fn replicas(&self) -> usize {
        self.controller_ports.len().min(REPLICAS_MAX)
    }

    /// Replicas that must have a record before it counts: of three, one may be away.
    pub(super) fn in_sync_min(&self) -> usize {
        self.replicas().div_ceil(2)
    }
}
