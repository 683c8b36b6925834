//! llama.cpp: the pinned prebuilt library, loaded at run time with bindings that match exactly that build; or
//! the user's own build through its programs.

#![allow(unsafe_code)]

mod backend;
mod check;
mod ffi;
mod imatrix;
mod library;
mod log;
mod options;
mod quantize;
mod session;
mod tool;

pub(crate) use backend::LlamaCpp;
