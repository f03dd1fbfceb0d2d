use std::sync::mpsc;

use futures_util::FutureExt as _;

use super::super::Method;
use super::*;

const LONG: Duration = Duration::from_secs(60);

/// Says which thread explains which row, then waits to be let on; a negative row makes it panic.
struct Gate {
    entered: mpsc::Sender<(String, f32)>,
    go: mpsc::Receiver<()>,
}

impl Explain for Gate {
    fn explain(&mut self, row: &[f32]) -> Result<Explanation, InferError> {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        self.entered.send((name, row[0])).unwrap();
        assert!(row[0] >= 0.0, "asked for");
        // Let on by a message, or for ever once the test has let go of its end.
        let _on = self.go.recv();
        Ok(of(row[0]))
    }
}

fn of(value: f32) -> Explanation {
    Explanation { method: Method::TreeShap, baseline: 0.0, margin: value.into(), contributions: vec![value.into()] }
}

struct Held {
    go: mpsc::Sender<()>,
    entered: mpsc::Receiver<(String, f32)>,
    thread: ExplanationThread,
}

fn held(most: usize) -> Held {
    let (entered, rows) = mpsc::channel();
    let (go, waits) = mpsc::channel();
    Held { go, entered: rows, thread: ExplanationThread::start(Gate { entered, go: waits }, most).unwrap() }
}

#[tokio::test]
async fn rows_are_explained_on_the_threads_own() {
    let held = held(4);
    held.go.send(()).unwrap();
    assert_eq!(held.thread.explain(vec![0.5], LONG).await, Ok(of(0.5)));
    assert_eq!(held.entered.recv().unwrap(), ("explanation".to_owned(), 0.5));
}

#[tokio::test]
async fn a_full_queue_and_a_slow_row_keep_nobody() {
    let held = held(1);
    let mut first = Box::pin(held.thread.explain(vec![0.1], LONG));
    assert!((&mut first).now_or_never().is_none());
    assert_eq!(held.entered.recv().unwrap().1, 0.1);
    // The first is in work, the second waits for it, a third is told so at once.
    let mut second = Box::pin(held.thread.explain(vec![0.2], LONG));
    assert!((&mut second).now_or_never().is_none());
    assert_eq!(held.thread.explain(vec![0.3], LONG).await, Err(InferError::Overloaded(1)));
    assert_eq!(held.thread.explain(vec![0.3], Duration::ZERO).await, Err(InferError::Deadline));
    // Whoever leaves is not explained; whoever stays is.
    drop(second);
    held.go.send(()).unwrap();
    assert_eq!(first.await, Ok(of(0.1)));
    held.go.send(()).unwrap();
    let answer = loop {
        match held.thread.explain(vec![0.4], LONG).await {
            Err(InferError::Overloaded(_)) => tokio::task::yield_now().await,
            other => break other,
        }
    };
    assert_eq!(answer, Ok(of(0.4)));
    assert_eq!(held.entered.try_iter().map(|(_, row)| row).collect::<Vec<_>>(), [0.4]);
}

#[tokio::test]
async fn the_caller_waits_no_longer_than_it_said() {
    let held = held(4);
    assert_eq!(held.thread.explain(vec![0.1], Duration::from_millis(1)).await, Err(InferError::Deadline));
}

#[tokio::test]
async fn a_panic_fails_its_row_and_nothing_else() {
    let held = held(4);
    held.go.send(()).unwrap();
    assert!(matches!(held.thread.explain(vec![-1.0], LONG).await, Err(InferError::Failed(_))));
    assert_eq!(held.thread.explain(vec![0.5], LONG).await, Ok(of(0.5)));
}

#[tokio::test]
async fn its_end_waits_for_the_row_in_work_alone() {
    let Held { go, entered, thread } = held(4);
    {
        let mut rows = [0.1, 0.2, 0.3].map(|row| Box::pin(thread.explain(vec![row], LONG)));
        for row in &mut rows {
            assert!(row.now_or_never().is_none());
        }
        assert_eq!(entered.recv().unwrap().1, 0.1);
    }
    drop(go);
    drop(thread);
    assert_eq!(entered.iter().count(), 0);
}
