//! How connections end.

use tokio::io::AsyncReadExt;

use super::flow::pattern;
use super::{BoxStream, Case, Pair, Side, Transport, expect, expect_end, finish, write};

/// The last bytes come before the end, even if the writer shuts down and is dropped at once.
pub(super) async fn data_with_end<T: Transport>(transport: &T) -> Case {
    for from in Side::BOTH {
        for length in [1, 200_000] {
            let mut pair = Pair::open(transport).await?;
            pair.greet(transport).await?;
            let message = transport.frame(&pattern(length));
            let (one, other) = pair.ends(from);
            let writing = async {
                write(one, &message).await?;
                finish(one).await
            };
            let reading = async {
                expect(other, &message).await?;
                expect_end(other).await
            };
            tokio::try_join!(biased; writing, reading)?;
        }
    }
    Ok(true)
}

/// A side that has read the end can still write, and then end too.
pub(super) async fn half_close<T: Transport>(transport: &T) -> Case {
    if !transport.half_closes() {
        return Ok(false);
    }
    for from in Side::BOTH {
        let mut pair = Pair::open(transport).await?;
        pair.greet(transport).await?;
        let (one, other) = pair.ends(from);
        let message = transport.frame(&pattern(5000));
        tokio::try_join!(biased; finish(one), expect_end(other))?;
        write(other, &message).await?;
        expect(one, &message).await?;
        tokio::try_join!(biased; finish(other), expect_end(one))?;
    }
    Ok(true)
}

/// A stream that is dropped after its shutdown has ended cleanly.
pub(super) async fn dropped_late<T: Transport>(transport: &T) -> Case {
    for from in Side::BOTH.into_iter().filter(|end| transport.delivers_after_drop(*end)) {
        let mut pair = Pair::open(transport).await?;
        pair.greet(transport).await?;
        let message = transport.frame(&pattern(100));
        let (mut one, mut other) = take(&mut pair, from);
        let writing = async {
            write(&mut one, &message).await?;
            finish(&mut one).await?;
            drop(one);
            Ok::<_, String>(())
        };
        let reading = async {
            expect(&mut other, &message).await?;
            expect_end(&mut other).await
        };
        tokio::try_join!(biased; writing, reading)?;
    }
    Ok(true)
}

/// A stream that is dropped without a shutdown is an error for its peer.
pub(super) async fn aborted<T: Transport>(transport: &T) -> Case {
    for from in Side::BOTH {
        let mut pair = Pair::open(transport).await?;
        pair.greet(transport).await?;
        let (one, other) = take(&mut pair, from);
        drop(one);
        expect_error(other)
            .await
            .map_err(|failure| format!("{from:?} dropped: {failure}"))?;
    }
    Ok(true)
}

/// So is one that is dropped while its peer still has data to read.
pub(super) async fn aborted_in_data<T: Transport>(transport: &T) -> Case {
    for from in Side::BOTH {
        let mut pair = Pair::open(transport).await?;
        pair.greet(transport).await?;
        let message = transport.frame(&pattern(5000));
        let (mut one, other) = take(&mut pair, from);
        write(&mut one, &message).await?;
        drop(one);
        expect_error(other)
            .await
            .map_err(|failure| format!("{from:?} dropped: {failure}"))?;
    }
    Ok(true)
}

/// Both ends, `from` first. The pair keeps its listener.
fn take<T: Transport>(pair: &mut Pair<T>, from: Side) -> (BoxStream, BoxStream) {
    let (one, other) = pair.ends(from);
    let ends = (one, other);
    let nothing = || Box::new(tokio::io::duplex(1).0) as BoxStream;
    (
        std::mem::replace(ends.0, nothing()),
        std::mem::replace(ends.1, nothing()),
    )
}

/// Reads until an error. Data that was written before may come or not.
async fn expect_error(mut stream: BoxStream) -> Result<(), String> {
    loop {
        match stream.read(&mut [0; 4096]).await {
            Ok(0) => return Err("its peer reads a clean end".to_owned()),
            Ok(_) => {}
            Err(_) => return Ok(()),
        }
    }
}
