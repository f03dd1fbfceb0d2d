//! Label values: closed enums, the same strings as in answers and documents.

use super::family::{LabelSet, label};

label! {
    /// Addresses of the HTTP mouth.
    Route, "route", {
        Predict = "predict",
        Batch = "predict_batch",
        Labels = "labels",
        Decision = "decision",
        Model = "model",
        Operation = "operation",
        Other = "other",
    }
}

label! {
    /// First digit of the HTTP status.
    Status, "status", { Success = "2xx", Client = "4xx", Server = "5xx" }
}

/// A route and the status class it was answered with.
pub type Method = (Route, Status);

impl LabelSet for Method {
    const LABELS: &'static [(&'static str, &'static [&'static str])] =
        &[("route", Route::VALUES), ("status", Status::VALUES)];
    fn index(self) -> usize {
        self.0.index() * Status::VALUES.len() + self.1.index()
    }
}

label! {
    /// Codes of problem documents: every one that an answer can carry.
    ProblemCode, "code", {
        NotJson = "not_json",
        NestedTooDeep = "nested_too_deep",
        TooLarge = "too_large",
        MissingField = "missing_field",
        WrongType = "wrong_type",
        DuplicateKey = "duplicate_key",
        IdLength = "id_length",
        IdCharacter = "id_character",
        AmountNegative = "amount_negative",
        AmountFractional = "amount_fractional",
        AmountTooLarge = "amount_too_large",
        AmountDigits = "amount_digits",
        UnknownCurrency = "unknown_currency",
        UnknownCountry = "unknown_country",
        UnknownChannel = "unknown_channel",
        TimeFormat = "time_format",
        TooFarAhead = "too_far_ahead",
        TooOld = "too_old",
        Conflict = "conflict",
        BadDeadline = "bad_deadline",
        BadQuery = "bad_query",
        BadLabel = "bad_label",
        UnknownRoute = "unknown_route",
        UnknownTransaction = "unknown_transaction",
        MethodNotAllowed = "method_not_allowed",
        UnsupportedMediaType = "unsupported_media_type",
        BodyTimeout = "body_timeout",
        Overloaded = "overloaded",
        Unavailable = "unavailable",
        Deadline = "deadline",
        BadCommand = "bad_command",
        UnknownVersion = "unknown_version",
        Refused = "version_refused",
        NotNow = "not_now",
        Unauthorized = "unauthorized",
        Internal = "internal",
    }
}

label! {
    /// What a decision is.
    DecisionKind, "kind", { Full = "full", Fallback = "fallback" }
}

label! {
    /// Steps of the line.
    Step, "step", {
        Read = "read",
        Observe = "observe",
        Encode = "encode",
        Infer = "infer",
        Judge = "judge",
        Commit = "commit",
    }
}

label! {
    /// Topics that are followed.
    Topic, "topic", { Transactions = "transactions", Labels = "labels", Decisions = "decisions" }
}

label! {
    /// Where decisions are delivered to.
    Destination, "destination", { Postgres = "postgres", Mongodb = "mongodb" }
}

label! {
    /// What became of a delivered record.
    Delivery, "fate", {
        New = "new",
        Repeated = "repeated",
        Superseded = "superseded",
        Applied = "applied",
        Refused = "refused",
    }
}

label! {
    /// What became of a label.
    LabelOutcome, "outcome", { Recorded = "recorded", Repeated = "repeated", Waiting = "waiting" }
}

label! {
    /// What became of a reading of reference data.
    Refresh, "outcome", { Changed = "changed", Same = "same", Failed = "failed" }
}

label! {
    /// What was changed of the models.
    ModelChange, "action", {
        Started = "started",
        Activated = "activated",
        Followed = "followed",
        FollowedBack = "followed_back",
        RolledBack = "rolled_back",
        Shadowed = "shadowed",
        ShadowEnded = "shadow_ended",
        Canaried = "canaried",
        CanaryEnded = "canary_ended",
        Refused = "refused",
    }
}

label! {
    /// Where a version stands.
    ModelStage, "stage", {
        Discovered = "discovered",
        Verified = "verified",
        Warm = "warm",
        Shadow = "shadow",
        Canary = "canary",
        Active = "active",
        Previous = "previous",
        Retired = "retired",
        Refused = "refused",
    }
}

label! {
    /// What became of a row that was handed to the challenger.
    Challenged, "outcome", { Compared = "compared", Dropped = "dropped", Failed = "failed" }
}

label! {
    /// Who flagged a transaction.
    Flags, "by", { Both = "both", Champion = "champion", Challenger = "challenger" }
}

label! {
    /// Labelled transactions of a comparison, by what each model said.
    Compared, "kind", {
        Labelled = "labelled",
        Fraud = "fraud",
        ChampionFlagged = "champion_flagged",
        ChampionCaught = "champion_caught",
        ChallengerFlagged = "challenger_flagged",
        ChallengerCaught = "challenger_caught",
    }
}

label! {
    /// Bounded queues.
    QueueName, "queue", { Log = "log", Background = "background", WaitingLabels = "waiting_labels" }
}

/// A destination and what became of a record there.
pub type Delivered = (Destination, Delivery);

impl LabelSet for Delivered {
    const LABELS: &'static [(&'static str, &'static [&'static str])] =
        &[("destination", Destination::VALUES), ("fate", Delivery::VALUES)];
    fn index(self) -> usize {
        self.0.index() * Delivery::VALUES.len() + self.1.index()
    }
}
