//! The one place where a panic of a decoder that is not ours becomes an error.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Whether this thread's panics are caught and told as errors.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// What `run` gives, or the text of its panic, which is then not printed. State that `run` leaves half changed must
/// not be used after.
///
/// # Errors
/// The text of the panic.
pub fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                before(info);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    GUARDED.set(outer);
    result.map_err(|payload| text(&*payload))
}

fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_the_next_call_works() {
        assert_eq!(guarded(|| 3), Ok(3));
        let numbers: Vec<u8> = Vec::new();
        assert!(guarded(|| numbers[1]).unwrap_err().contains("index out of bounds"));
        assert_eq!(guarded(|| panic!("{}", 5)), Err::<(), _>("5".to_owned()));
        assert_eq!(guarded(|| 4), Ok(4));
    }
}
