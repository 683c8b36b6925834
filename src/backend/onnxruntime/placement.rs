//! Which provider each node of an opened graph runs on, as the library itself recorded it.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::ptr;

use ort::AsPointer;
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::sys;

/// Session entry that makes the library keep the assignment.
const RECORD: &str = "session.record_ep_graph_assignment_info";

pub(super) fn record(builder: SessionBuilder) -> ort::Result<SessionBuilder> {
    Ok(builder.with_config_entry(RECORD, "1")?)
}

/// Nodes by provider; `None` where the library does not tell.
pub(super) fn nodes_by_provider(session: &Session) -> Option<BTreeMap<String, u64>> {
    let api = ort::api();
    let mut count = BTreeMap::new();
    let (mut subgraphs, mut n) = (ptr::null(), 0usize);
    // SAFETY: a live session of this library; what it returns lives as long as the session, and every pointer is
    // read only after its call succeeded.
    unsafe {
        ok((api.Session_GetEpGraphAssignmentInfo)(session.ptr(), &mut subgraphs, &mut n))?;
        for i in 0..n {
            let subgraph = *subgraphs.add(i);
            let mut name: *const c_char = ptr::null();
            ok((api.EpAssignedSubgraph_GetEpName)(subgraph, &mut name))?;
            let (mut nodes, mut k): (*const *const sys::OrtEpAssignedNode, usize) =
                (ptr::null(), 0);
            ok((api.EpAssignedSubgraph_GetNodes)(subgraph, &mut nodes, &mut k))?;
            let name = CStr::from_ptr(name).to_string_lossy().into_owned();
            *count.entry(name).or_insert(0) += k as u64;
        }
    }
    (!count.is_empty()).then_some(count)
}

/// # Safety
/// `status` must come from this library and not have been released.
unsafe fn ok(status: sys::OrtStatusPtr) -> Option<()> {
    // SAFETY: see above; the error releases it.
    unsafe { ort::Error::result_from_status(status) }.ok()
}
