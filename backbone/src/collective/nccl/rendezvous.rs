//! How processes that a launcher without MPI started find one another: all connect to the first, which sends them the
//! identity of the communicator. The connections stay, and tell when a process ends (`lifeline.rs`).

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use crate::collective::CollectiveError;

/// Ports that are tried from the launcher's on: on its own it may listen itself, as torchrun does.
const PORTS: u16 = 8;

/// What a connection begins with.
const MAGIC: [u8; 8] = *b"KATRANK1";

/// The answer to a process of this run.
const WELCOME: u8 = 1;

/// What a launcher told a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// This process.
    pub rank: usize,
    /// Number of processes.
    pub world: usize,
    /// The host of the first process.
    pub address: String,
    /// A port there; the next ones are tried too.
    pub port: u16,
    /// What sets this run apart from others on the host, the same for all its processes.
    pub run: String,
}

/// The connections of one process: the first has one to each other, they have one to the first.
pub(super) type Connections = Vec<(usize, TcpStream)>;

impl Launch {
    /// Sends `make`'s bytes from the first process to all others; returns them, and the connections.
    ///
    /// # Errors
    /// A process that does not come within `limit`, or is of another run; no port that can be listened at.
    pub(super) fn meet<const N: usize>(
        &self,
        limit: Duration,
        make: impl FnOnce() -> Result<[u8; N], CollectiveError>,
    ) -> Result<([u8; N], Connections), CollectiveError> {
        let until = Instant::now() + limit;
        if self.rank > 0 {
            let mut connection = self.connect(until)?;
            let mut bytes = [0; N];
            set_limit(&connection, until.saturating_duration_since(Instant::now()));
            connection.read_exact(&mut bytes).map_err(|error| {
                self.failed(format!("rank 0 sends nothing: {error}; another process may not have come"))
            })?;
            return Ok((bytes, vec![(0, connection)]));
        }
        let listener = self.listen()?;
        let bytes = make()?;
        let mut connections = self.accept(&listener, until)?;
        for (rank, connection) in &mut connections {
            let sent = connection.write_all(&bytes);
            sent.map_err(|error| self.failed(format!("rank {rank} is gone: {error}")))?;
        }
        Ok((bytes, connections))
    }

    fn failed(&self, reason: String) -> CollectiveError {
        let at = format!("{}:{}", self.address, self.port);
        CollectiveError::Meeting { rank: self.rank, world: self.world, at, reason }
    }

    /// What a process says first.
    fn greeting(&self) -> [u8; 24] {
        let mut greeting = [0; 24];
        greeting[..8].copy_from_slice(&MAGIC);
        greeting[8..16].copy_from_slice(&fnv(self.run.as_bytes()).to_le_bytes());
        greeting[16..20].copy_from_slice(&(self.rank as u32).to_le_bytes());
        greeting[20..].copy_from_slice(&(self.world as u32).to_le_bytes());
        greeting
    }

    fn ports(&self) -> impl Iterator<Item = u16> {
        self.port..=self.port.saturating_add(PORTS - 1)
    }

    fn listen(&self) -> Result<TcpListener, CollectiveError> {
        let here = matches!(self.address.as_str(), "localhost" | "127.0.0.1");
        let host = if here { "127.0.0.1" } else { "0.0.0.0" };
        let mut last = None;
        for port in self.ports() {
            match TcpListener::bind((host, port)) {
                Ok(listener) => {
                    listener.set_nonblocking(true).map_err(|error| self.failed(error.to_string()))?;
                    return Ok(listener);
                }
                Err(error) => last = Some(error),
            }
        }
        let reason = last.map_or_else(String::new, |error| error.to_string());
        Err(self.failed(format!("cannot listen there nor at the {} ports after it: {reason}", PORTS - 1)))
    }

    /// One connection to each other process.
    fn accept(&self, listener: &TcpListener, until: Instant) -> Result<Connections, CollectiveError> {
        let mut connections: Connections = Vec::new();
        while connections.len() + 1 < self.world {
            match listener.accept() {
                Ok((connection, _)) => {
                    // Who is of another run goes away, and is none of ours.
                    let Some(rank) = self.welcome(&connection)? else { continue };
                    // It gave an earlier connection up.
                    connections.retain(|(other, _)| *other != rank);
                    connections.push((rank, connection));
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if Instant::now() > until {
                        let came = |rank: &usize| connections.iter().any(|(other, _)| other == rank);
                        let missing: Vec<_> =
                            (1..self.world).filter(|rank| !came(rank)).map(|rank| rank.to_string()).collect();
                        return Err(self.failed(format!("rank {} did not come in time", missing.join(", "))));
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(self.failed(error.to_string())),
            }
        }
        connections.sort_unstable_by_key(|(rank, _)| *rank);
        Ok(connections)
    }

    /// The rank of a process of this run that connected.
    fn welcome(&self, mut connection: &TcpStream) -> Result<Option<usize>, CollectiveError> {
        let own = self.greeting();
        let mut greeting = [0; 24];
        // On some systems it would inherit the listener's mode.
        let read = connection.set_nonblocking(false).and_then(|()| {
            set_limit(connection, Duration::from_secs(1));
            connection.read_exact(&mut greeting)
        });
        if read.is_err() || greeting[..16] != own[..16] {
            return Ok(None);
        }
        let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| greeting[at + i])) as usize;
        let (rank, world) = (number(16), number(20));
        if world != self.world || rank == 0 || rank >= world {
            return Err(self.failed(format!("a process says that it is rank {rank} of {world}")));
        }
        let _ = connection.set_nodelay(true);
        connection
            .write_all(&[WELCOME])
            .map_err(|error| self.failed(format!("rank {rank} is gone: {error}")))?;
        Ok(Some(rank))
    }

    /// The connection to the first process, which may not listen yet.
    fn connect(&self, until: Instant) -> Result<TcpStream, CollectiveError> {
        let mut last = String::from("nobody listens");
        loop {
            for port in self.ports() {
                let addresses = match (self.address.as_str(), port).to_socket_addrs() {
                    Ok(addresses) => addresses,
                    Err(error) => {
                        last = error.to_string();
                        continue;
                    }
                };
                for address in addresses {
                    match self.try_connect(&address) {
                        Ok(Some(connection)) => return Ok(connection),
                        Ok(None) => last = format!("who listens at {address} is not of this run"),
                        Err(error) => last = error.to_string(),
                    }
                    if Instant::now() > until {
                        return Err(self.failed(format!("rank 0 cannot be reached: {last}")));
                    }
                }
            }
            if Instant::now() > until {
                return Err(self.failed(format!("rank 0 cannot be reached: {last}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn try_connect(&self, address: &std::net::SocketAddr) -> std::io::Result<Option<TcpStream>> {
        let mut connection = TcpStream::connect_timeout(address, Duration::from_secs(2))?;
        connection.set_nodelay(true)?;
        set_limit(&connection, Duration::from_secs(3));
        connection.write_all(&self.greeting())?;
        let mut answer = [0];
        connection.read_exact(&mut answer)?;
        Ok((answer[0] == WELCOME).then_some(connection))
    }
}

/// Sets how long a read may wait; a socket that refuses waits longer.
pub(super) fn set_limit(connection: &TcpStream, limit: Duration) {
    let _ = connection.set_read_timeout(Some(limit.max(Duration::from_millis(1))));
}

/// FNV-1a.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(rank: usize, world: usize, port: u16, run: &str) -> Launch {
        Launch { rank, world, address: "127.0.0.1".into(), port, run: run.into() }
    }

    /// A port that is free, as are, most likely, the next ones.
    fn port() -> u16 {
        TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
    }

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn all_get_what_the_first_sends_beside_another_run_and_who_listens_there_already() {
        let port = port();
        // As torchrun's own store, which does not answer.
        let _store = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let meet = |rank, run: &'static str, byte| {
            std::thread::spawn(move || launch(rank, 3, port, run).meet(LIMIT, || Ok([byte; 5])).unwrap())
        };
        let all = [
            meet(2, "a", 0),
            meet(1, "b", 0),
            meet(0, "a", 1),
            meet(0, "b", 2),
            meet(2, "b", 0),
            meet(1, "a", 0),
        ];
        let all = all.map(|thread| thread.join().unwrap());
        assert_eq!(all.each_ref().map(|(bytes, _)| bytes[0]), [1, 2, 1, 2, 2, 1]);
        let ranks: Vec<usize> = all[2].1.iter().map(|(rank, _)| *rank).collect();
        assert_eq!((ranks, all[0].1.len()), (vec![1, 2], 1));
    }

    #[test]
    fn who_does_not_come_is_named() {
        let port = port();
        let soon = Duration::from_millis(300);
        let error = launch(0, 3, port, "a").meet(soon, || Ok([0])).unwrap_err().to_string();
        assert!(error.contains("rank 0 of 3") && error.contains("rank 1, 2 did not come"), "{error}");
        let error = launch(1, 2, port, "a").meet(soon, || Ok([0])).unwrap_err().to_string();
        assert!(error.contains("rank 0 cannot be reached") && error.contains(&port.to_string()), "{error}");
    }
}
