//! `echosphere_fuzz::websocket`, for libFuzzer. Built without it, runs the files it is given.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| echosphere_fuzz::websocket(data));

#[cfg(not(fuzzing))]
fn main() {
    let files = std::env::args_os().skip(1).map(Into::into);
    echosphere_fuzz::replay(echosphere_fuzz::websocket, files);
}
