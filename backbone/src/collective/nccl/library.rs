//! NVIDIA's libnccl.so.2, found by the loader when the first processes join, as the GPU's driver is: a program that was
//! built here runs where there is none.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

use cudarc::driver::sys::CUstream;

use crate::collective::CollectiveError;

/// The name that all its versions since 2.0 have.
const NAME: &CStr = c"libnccl.so.2";

/// What tells processes of one communicator from others.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct UniqueId(pub(super) [u8; UniqueId::LEN]);

impl UniqueId {
    /// Its bytes.
    pub(super) const LEN: usize = 128;
}

/// A communicator, opaque.
#[repr(C)]
pub(super) struct Opaque {
    _private: [u8; 0],
}

/// NCCL's handle of a communicator.
pub(super) type Comm = *mut Opaque;

/// What a call answers: 0 is success.
pub(super) type Status = c_int;

/// A call was made and goes on.
pub(super) const IN_PROGRESS: Status = 7;

/// The types of values that NCCL is given here, by its own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    U8 = 1,
    F32 = 7,
    F64 = 8,
    Bf16 = 9,
}

/// `ncclSum`.
pub(super) const SUM: c_int = 0;

macro_rules! functions {
    ($($(#[$doc:meta])* $field:ident = $symbol:literal: fn($($argument:ty),*) -> $result:ty;)*) => {
        /// NCCL's functions.
        pub(super) struct Library {
            $($(#[$doc])* pub(super) $field: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        impl Library {
            /// Looks each function up in an open library.
            fn of(handle: Handle) -> Result<Self, CollectiveError> {
                Ok(Self { $($field: {
                    let address = handle.symbol($symbol)?;
                    // SAFETY: NCCL documents the function of this name with these arguments and this result, without a
                    // change since 2.4; the library is never closed.
                    unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) -> $result>(address) }
                },)* })
            }
        }
    };
}

functions! {
    get_version = c"ncclGetVersion": fn(*mut c_int) -> Status;
    get_unique_id = c"ncclGetUniqueId": fn(*mut UniqueId) -> Status;
    init_rank = c"ncclCommInitRank": fn(*mut Comm, c_int, UniqueId, c_int) -> Status;
    destroy = c"ncclCommDestroy": fn(Comm) -> Status;
    /// Ends what is under way and frees the communicator.
    abort = c"ncclCommAbort": fn(Comm) -> Status;
    async_error = c"ncclCommGetAsyncError": fn(Comm, *mut Status) -> Status;
    error_string = c"ncclGetErrorString": fn(Status) -> *const c_char;
    all_reduce = c"ncclAllReduce": fn(*const c_void, *mut c_void, usize, c_int, c_int, Comm, CUstream) -> Status;
    reduce_scatter = c"ncclReduceScatter": fn(*const c_void, *mut c_void, usize, c_int, c_int, Comm, CUstream) -> Status;
    all_gather = c"ncclAllGather": fn(*const c_void, *mut c_void, usize, c_int, Comm, CUstream) -> Status;
    broadcast = c"ncclBroadcast": fn(*const c_void, *mut c_void, usize, c_int, c_int, Comm, CUstream) -> Status;
    group_start = c"ncclGroupStart": fn() -> Status;
    group_end = c"ncclGroupEnd": fn() -> Status;
}

/// A library that `dlopen` opened, for the rest of the process.
struct Handle(*mut c_void);

impl Handle {
    fn open() -> Result<Self, CollectiveError> {
        // SAFETY: the name ends with a zero byte. The library's initialisers are NVIDIA's.
        let handle = unsafe { libc::dlopen(NAME.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            return Err(CollectiveError::Nccl {
                operation: "load libnccl.so.2",
                reason: format!(
                    "{}; install NCCL (libnccl2, or the wheel nvidia-nccl-cu13) and name its folder in LD_LIBRARY_PATH",
                    last_error()
                ),
            });
        }
        Ok(Self(handle))
    }

    fn symbol(&self, name: &CStr) -> Result<*mut c_void, CollectiveError> {
        // SAFETY: the handle is open and the name ends with a zero byte.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        if address.is_null() {
            let reason = format!("it lacks {}; NCCL 2.4 or later is needed", name.to_string_lossy());
            return Err(CollectiveError::Nccl { operation: "load libnccl.so.2", reason });
        }
        Ok(address)
    }
}

/// What the loader says of its last failure.
fn last_error() -> String {
    // SAFETY: the text is the loader's, ends with a zero byte, and is copied before this thread calls the loader again.
    unsafe {
        let text = libc::dlerror();
        if text.is_null() {
            "unknown".to_owned()
        } else {
            CStr::from_ptr(text).to_string_lossy().into_owned()
        }
    }
}

impl Library {
    /// The library, opened at the first call.
    ///
    /// # Errors
    /// The loader does not find it, or it is too old.
    pub(super) fn get() -> Result<&'static Self, CollectiveError> {
        static LIBRARY: OnceLock<Library> = OnceLock::new();
        if let Some(library) = LIBRARY.get() {
            return Ok(library);
        }
        let library = Self::of(Handle::open()?)?;
        Ok(LIBRARY.get_or_init(|| library))
    }

    /// Its version, as `2.27.3`.
    pub(super) fn version(&self) -> String {
        let mut version = 0;
        // SAFETY: the argument is written before it is read.
        let status = unsafe { (self.get_version)(&raw mut version) };
        if status != 0 {
            return "of unknown version".to_owned();
        }
        // Until 2.8 in hundreds, then in ten thousands.
        let unit = if version < 10_000 { 1000 } else { 10_000 };
        format!("{}.{}.{}", version / unit, version % unit / 100, version % 100)
    }

    /// A new identity, for all processes that will share a communicator.
    ///
    /// # Errors
    /// What NCCL says.
    pub(super) fn unique_id(&self) -> Result<UniqueId, CollectiveError> {
        let mut id = UniqueId([0; UniqueId::LEN]);
        // SAFETY: the argument is a struct of the size that NCCL fills.
        self.check("ncclGetUniqueId", unsafe { (self.get_unique_id)(&raw mut id) })?;
        Ok(id)
    }

    /// Success, or the error that a status stands for.
    ///
    /// # Errors
    /// A status that is neither success nor of work under way.
    pub(super) fn check(&self, operation: &'static str, status: Status) -> Result<(), CollectiveError> {
        if status == 0 || status == IN_PROGRESS {
            return Ok(());
        }
        // SAFETY: NCCL has a constant text for every number.
        let text = unsafe { CStr::from_ptr((self.error_string)(status)) };
        let reason = format!("{} (NCCL_DEBUG=WARN tells more)", text.to_string_lossy());
        Err(CollectiveError::Nccl { operation, reason })
    }
}
