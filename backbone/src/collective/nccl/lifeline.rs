//! The connections that processes keep to the first one, and what they tell: that a process is there, that it ended in good
//! order, that it failed and ends all. One that says nothing more is gone: NCCL itself would wait for it for ever.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::communicator::Communicator;
use super::rendezvous::{Connections, set_limit};

/// Between signs of life.
const BEAT: Duration = Duration::from_secs(4);

/// Silence after which a process counts as gone: its host is lost.
const SILENCE: Duration = Duration::from_secs(20);

/// How long a process has to tell what it failed at once another is gone.
const GRACE: Duration = Duration::from_secs(8);

/// A message is one of these and a byte.
const ALIVE: u8 = 0;
const GOODBYE: u8 = 1;
const ABORT: u8 = 2;

/// This process's end of the connections.
pub(super) struct Lifeline(Arc<Shared>);

struct Shared {
    rank: usize,
    communicator: Arc<Communicator>,
    peers: Mutex<Connections>,
    /// Whether this process says no more.
    ended: AtomicBool,
}

impl Lifeline {
    /// Watches `connections`, a thread for each.
    pub(super) fn watch(
        rank: usize,
        connections: Connections,
        communicator: Arc<Communicator>,
    ) -> std::io::Result<Self> {
        let mut readers = Vec::new();
        for (peer, connection) in &connections {
            // A peer that reads nothing must not keep this one.
            connection.set_write_timeout(Some(BEAT))?;
            readers.push((*peer, connection.try_clone()?));
        }
        let ended = AtomicBool::new(false);
        let shared = Arc::new(Shared { rank, communicator, peers: Mutex::new(connections), ended });
        for (peer, connection) in readers {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name(format!("rank {peer}"))
                .spawn(move || shared.listen(peer, connection))?;
        }
        let beating = Arc::downgrade(&shared);
        std::thread::Builder::new().name("signs of life".into()).spawn(move || {
            while let Some(shared) = beating.upgrade().filter(|shared| !shared.has_ended()) {
                shared.tell([ALIVE, 0]);
                drop(shared);
                std::thread::sleep(BEAT);
            }
        })?;
        Ok(Self(shared))
    }

    /// Ends all processes with `status`.
    pub(super) fn abort(&self, status: u8) {
        self.0.ended.store(true, Ordering::Release);
        self.0.tell([ABORT, status]);
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        if !self.0.ended.swap(true, Ordering::AcqRel) {
            self.0.tell([GOODBYE, 0]);
        }
    }
}

impl Shared {
    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Sends a message to all peers. Who is gone is noticed by who listens to it.
    fn tell(&self, message: [u8; 2]) {
        for (_, connection) in self.peers.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            let _ = connection.write_all(&message);
        }
    }

    /// Follows one peer until it or this process ends.
    fn listen(&self, peer: usize, mut connection: TcpStream) {
        set_limit(&connection, SILENCE);
        let mut message = [ALIVE, 0];
        loop {
            match connection.read_exact(&mut message) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => break,
            }
            match message {
                [ALIVE, _] => {}
                [ABORT, status] => {
                    // Who failed has told why. The first process has the way to the others.
                    if !self.has_ended() {
                        self.tell([ABORT, status]);
                        end(status);
                    }
                    return;
                }
                // Ended in good order, or speaks another language.
                _ => return,
            }
        }
        if self.has_ended() {
            return;
        }
        self.communicator.lose(peer);
        std::thread::sleep(GRACE);
        // The thread that computes has not come to a call that would have told it.
        if !self.has_ended() {
            eprintln!("rank {}: error: rank {peer} ended; this process was busy and ends too", self.rank);
            self.tell([ABORT, 1]);
            end(1);
        }
    }
}

/// Ends this process at once: what the GPU or another thread does is not waited for.
pub(super) fn end(status: u8) -> ! {
    use std::io::Write as _;
    let _ = std::io::stdout().flush();
    // SAFETY: it ends the process without running anything of it; files are written to another name first, and only a
    // whole one replaces what was there.
    unsafe { libc::_exit(status.into()) }
}
