//! One connection: requests and answers in turn, and the faults in them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::message::{Framing, Head};
use super::{Shared, WireEffect};

/// Time between two bytes of an answer that drips.
const DRIP: Duration = Duration::from_secs(1);
const GARBAGE: &[u8] = b"\x16\x03\x01\x02 this is no answer\r\n\r\n";

/// How a connection ends.
#[derive(Debug)]
enum End {
    Closed,
    Reset,
    /// It stays open and nothing more is said, until the other side closes it.
    Held,
}

impl From<io::Error> for End {
    /// What broke one side breaks the other.
    fn from(_: io::Error) -> Self {
        Self::Reset
    }
}

/// One of the two connections of a conversation.
struct Side {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Side {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).ok();
        let (reader, writer) = stream.into_split();
        Self { reader: BufReader::with_capacity(16 * 1024, reader), writer }
    }

    fn reset(self) {
        self.writer.as_ref().set_zero_linger().ok();
        // Dropped, it would close in order first.
        self.writer.forget();
    }

    /// Reads and forgets until the other side is gone.
    async fn drain(&mut self) {
        let mut waste = [0; 4096];
        while self.reader.read(&mut waste).await.is_ok_and(|read| read > 0) {}
    }
}

impl Shared {
    fn take(&self, request: &Head, reused: bool) -> Option<WireEffect> {
        let effect = self.script.take(request, reused)?;
        self.struck.fetch_add(1, Ordering::Relaxed);
        Some(effect)
    }

    /// Waits until something goes through the wire.
    async fn lit(&self) {
        if *self.dark.borrow() {
            // The sender is in `self`.
            self.dark.subscribe().wait_for(|dark| !dark).await.ok();
        }
    }
}

/// Serves a connection until one of its ends has enough.
pub(super) async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    let mut client = Side::new(stream);
    let mut server = None;
    let end = exchange(&mut client, &mut server, &shared).await;
    match end {
        End::Closed => drop(client),
        End::Held => client.drain().await,
        End::Reset => {
            client.reset();
            if let Some(server) = server {
                server.reset();
            }
        }
    }
}

async fn exchange(client: &mut Side, server: &mut Option<Side>, shared: &Shared) -> End {
    let mut reused = false;
    loop {
        let request = match Head::read(&mut client.reader).await {
            Ok(Some(request)) => request,
            Ok(None) => return End::Closed,
            Err(_) => return End::Reset,
        };
        let effect = shared.take(&request, reused);
        match effect {
            Some(WireEffect::Reset) => return End::Reset,
            Some(WireEffect::Close | WireEffect::Stale) => return End::Closed,
            Some(WireEffect::Swallow) => return End::Held,
            _ => {}
        }
        shared.lit().await;
        let to = match server {
            Some(server) => server,
            None => match TcpStream::connect(shared.server).await {
                Ok(stream) => server.insert(Side::new(stream)),
                Err(_) => return End::Reset,
            },
        };
        if let Err(end) = one(client, to, &request, effect, shared).await {
            return end;
        }
        reused = true;
    }
}

/// One request and its answer. An error is how the connection ends.
async fn one(
    client: &mut Side,
    server: &mut Side,
    request: &Head,
    effect: Option<WireEffect>,
    shared: &Shared,
) -> Result<(), End> {
    let (sent, answer) = send(client, server, request, effect, shared).await?;
    match effect {
        Some(WireEffect::LoseAnswer) => return Err(End::Closed),
        Some(WireEffect::Garble) => {
            client.writer.write_all(GARBAGE).await?;
            return Err(End::Closed);
        }
        Some(WireEffect::Delay(time)) => tokio::time::sleep(time).await,
        _ => {}
    }
    let framing = answer.of_answer(request.method());
    let closes = answer.closes() || framing == Framing::Close;
    let (answer, longer) = match effect {
        Some(WireEffect::Length(difference)) => (answer.with_length(difference), difference > 0),
        _ => (answer, false),
    };
    let strike = Strike::of_answer(effect);
    let mut out = Outgoing::new(&mut client.writer, shared, strike, &answer, framing);
    out.write(&mut answer.bytes().to_vec()).await?;
    pass(&mut server.reader, framing, &mut out).await?;
    if closes || longer || !sent { Err(End::Closed) } else { Ok(()) }
}

/// Hands the request on, and gives the head of the answer, and whether the whole request was wanted.
async fn send(
    client: &mut Side,
    server: &mut Side,
    request: &Head,
    effect: Option<WireEffect>,
    shared: &Shared,
) -> Result<(bool, Head), End> {
    let framing = request.of_request();
    let strike = Strike::of_request(effect);
    let mut out = Outgoing::new(&mut server.writer, shared, strike, request, framing);
    let sending = async {
        out.write(&mut request.bytes().to_vec()).await?;
        pass(&mut client.reader, framing, &mut out).await
    };
    let answering = first_answer(&mut server.reader, &mut client.writer, shared);
    tokio::pin!(sending, answering);
    // A server may answer before it has all of the request, and then closes.
    tokio::select! {
        biased;
        sent = &mut sending => match sent {
            Err(End::Reset) if strike.is_some() => Err(End::Reset),
            sent => Ok((sent.is_ok(), answering.await?)),
        },
        answer = &mut answering => Ok((false, answer?)),
    }
}

/// The head of the answer; interim ones are handed on.
async fn first_answer(
    server: &mut BufReader<OwnedReadHalf>,
    client: &mut OwnedWriteHalf,
    shared: &Shared,
) -> Result<Head, End> {
    loop {
        let head = Head::read(server).await?.ok_or(End::Closed)?;
        if !(100..200).contains(&head.status()) {
            return Ok(head);
        }
        shared.lit().await;
        client.write_all(head.bytes()).await?;
    }
}

/// What happens to a message at some byte of its body.
#[derive(Clone, Copy, Debug)]
enum Strike {
    Flip(u64),
    Drip(u64),
    Close(u64),
    Reset(u64),
    Hold(u64),
}

impl Strike {
    fn of_request(effect: Option<WireEffect>) -> Option<Self> {
        match effect? {
            WireEffect::CutUpload(place) => Some(Self::Reset(place)),
            WireEffect::FlipUpload(place) => Some(Self::Flip(place)),
            _ => None,
        }
    }

    fn of_answer(effect: Option<WireEffect>) -> Option<Self> {
        match effect? {
            WireEffect::Flip(place) => Some(Self::Flip(place)),
            WireEffect::Drip(place) => Some(Self::Drip(place)),
            WireEffect::Stall(place) => Some(Self::Hold(place)),
            WireEffect::Truncate(place) => Some(Self::Close(place)),
            _ => None,
        }
    }

    /// The same, of the whole message: its place is counted from the head's first byte.
    fn of_message(self, head: &Head, framing: Framing) -> Option<Self> {
        let length = head.bytes().len() as u64;
        let whole = |place: u64| match framing {
            Framing::Length(0) => length / 2,
            Framing::Length(body) => length + place.min(body - 1),
            Framing::Chunked | Framing::Close => length + place,
        };
        match self {
            Self::Flip(_) if framing == Framing::Length(0) => None,
            Self::Flip(place) => Some(Self::Flip(whole(place))),
            Self::Drip(place) => Some(Self::Drip(whole(place))),
            Self::Close(place) => Some(Self::Close(whole(place))),
            Self::Reset(place) => Some(Self::Reset(whole(place))),
            Self::Hold(place) => Some(Self::Hold(whole(place))),
        }
    }
}

/// A message on its way, with what happens to it.
struct Outgoing<'a> {
    writer: &'a mut OwnedWriteHalf,
    shared: &'a Shared,
    strike: Option<Strike>,
    /// Bytes written, the head's included.
    position: u64,
}

impl<'a> Outgoing<'a> {
    fn new(
        writer: &'a mut OwnedWriteHalf,
        shared: &'a Shared,
        strike: Option<Strike>,
        head: &Head,
        framing: Framing,
    ) -> Self {
        let strike = strike.and_then(|strike| strike.of_message(head, framing));
        Self { writer, shared, strike, position: 0 }
    }

    async fn write(&mut self, piece: &mut [u8]) -> Result<(), End> {
        self.shared.lit().await;
        let start = self.position;
        self.position += piece.len() as u64;
        let reaches = |place: u64| place < start + piece.len() as u64;
        // Bounded by the piece's length.
        let before = |place: u64| place.saturating_sub(start) as usize;
        match self.strike {
            Some(Strike::Flip(place)) if place >= start && reaches(place) => {
                piece[before(place)] ^= 1;
            }
            Some(Strike::Drip(place)) if reaches(place) => {
                let (whole, drops) = piece.split_at(before(place));
                self.writer.write_all(whole).await?;
                for drop in drops {
                    tokio::time::sleep(DRIP).await;
                    self.shared.lit().await;
                    self.writer.write_all(&[*drop]).await?;
                }
                return Ok(());
            }
            Some(Strike::Close(place)) if reaches(place) => {
                self.writer.write_all(&piece[..before(place)]).await?;
                return Err(End::Closed);
            }
            Some(Strike::Reset(place)) if reaches(place) => {
                self.writer.write_all(&piece[..before(place)]).await?;
                return Err(End::Reset);
            }
            Some(Strike::Hold(place)) if reaches(place) => {
                self.writer.write_all(&piece[..before(place)]).await?;
                return Err(End::Held);
            }
            _ => {}
        }
        self.writer.write_all(piece).await?;
        Ok(())
    }
}

/// Hands a body on, as it is framed.
async fn pass(
    from: &mut BufReader<OwnedReadHalf>,
    framing: Framing,
    to: &mut Outgoing<'_>,
) -> Result<(), End> {
    match framing {
        Framing::Length(length) => pass_bytes(from, length, to).await,
        Framing::Close => loop {
            let mut piece = from.fill_buf().await?.to_vec();
            if piece.is_empty() {
                return Ok(());
            }
            from.consume(piece.len());
            to.write(&mut piece).await?;
        },
        Framing::Chunked => loop {
            let size = pass_line(from, to).await?;
            let size = size.split(|byte| *byte == b';').next().unwrap_or_default();
            let size = std::str::from_utf8(size).ok().map(str::trim);
            let size = size.and_then(|size| u64::from_str_radix(size, 16).ok());
            match size.ok_or(End::Reset)? {
                // Trailers, up to the empty line.
                0 => loop {
                    if pass_line(from, to).await? == b"\r\n" {
                        return Ok(());
                    }
                },
                size => pass_bytes(from, size + 2, to).await?,
            }
        },
    }
}

async fn pass_bytes(
    from: &mut BufReader<OwnedReadHalf>,
    length: u64,
    to: &mut Outgoing<'_>,
) -> Result<(), End> {
    let mut left = length;
    while left > 0 {
        let piece = from.fill_buf().await?;
        let taken = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut piece = piece[..taken].to_vec();
        if piece.is_empty() {
            return Err(End::Closed);
        }
        from.consume(taken);
        left -= taken as u64;
        to.write(&mut piece).await?;
    }
    Ok(())
}

async fn pass_line(
    from: &mut BufReader<OwnedReadHalf>,
    to: &mut Outgoing<'_>,
) -> Result<Vec<u8>, End> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line).await?;
    if !line.ends_with(b"\n") {
        return Err(End::Closed);
    }
    to.write(&mut line.clone()).await?;
    Ok(line)
}
