//! Memory of tiles, used again: a training step takes and gives back the same sizes as the one before, and new memory costs more
//! time than most of what is done with it (the system clears each page as it is first touched).

use super::pack::Tile;
use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Tiles that hold anything, until they are written.
#[derive(Debug)]
pub(crate) struct Tiles {
    tiles: Vec<Tile>,
    len: usize,
}

/// What is not in use; never more than was in use at once.
struct Pool {
    free: Vec<Vec<Tile>>,
    /// Tiles in use, and the most that ever were.
    used: usize,
    most: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { free: Vec::new(), used: 0, most: 0 });

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tiles {
    /// `len` tiles, whatever they hold.
    pub fn new(len: usize) -> Self {
        let mut pool = pool();
        // the smallest that is large enough, and not much too large
        let fits = |tiles: &Vec<Tile>| tiles.len() >= len && tiles.len() <= 2 * len;
        let found = (0..pool.free.len()).filter(|i| fits(&pool.free[*i])).min_by_key(|i| pool.free[*i].len());
        let found = found.map(|i| pool.free.swap_remove(i));
        pool.used += found.as_ref().map_or(len, Vec::len);
        pool.most = pool.most.max(pool.used);
        drop(pool);
        Self { tiles: found.unwrap_or_else(|| vec![Tile::ZERO; len]), len }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        let tiles = std::mem::take(&mut self.tiles);
        let mut pool = pool();
        pool.used -= tiles.len();
        if !tiles.is_empty() {
            pool.free.push(tiles);
        }
        let mut held = pool.used + pool.free.iter().map(Vec::len).sum::<usize>();
        while held > pool.most {
            // those that were not asked for longest come first, or nearly so
            held -= pool.free.remove(0).len();
        }
    }
}

impl Clone for Tiles {
    fn clone(&self) -> Self {
        let mut tiles = Self::new(self.len);
        tiles.copy_from_slice(self);
        tiles
    }
}

impl Deref for Tiles {
    type Target = [Tile];

    fn deref(&self) -> &[Tile] {
        &self.tiles[..self.len]
    }
}

impl DerefMut for Tiles {
    fn deref_mut(&mut self) -> &mut [Tile] {
        &mut self.tiles[..self.len]
    }
}

/// Runs `work` with `len` tiles of this thread's space, whatever they hold.
pub(crate) fn with_tiles<R>(len: usize, work: impl FnOnce(&mut [Tile]) -> R) -> R {
    thread_local! {
        /// Not in use; a call within a call makes its own.
        static SPACES: RefCell<Vec<Vec<Tile>>> = const { RefCell::new(Vec::new()) };
    }
    let mut space = SPACES.with_borrow_mut(Vec::pop).unwrap_or_default();
    if space.len() < len {
        space.resize(len, Tile::ZERO);
    }
    let result = work(&mut space[..len]);
    SPACES.with_borrow_mut(|spaces| spaces.push(space));
    result
}
