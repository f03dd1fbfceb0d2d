-- The exchange rates that count: of each currency and day the first that any instance saw. What the source says of that day
-- later is a correction: it is counted and ignored, so that no feature of the past changes.
CREATE TABLE fraud_rates (
    currency   text COLLATE "C" NOT NULL,
    published  date NOT NULL,
    rate       numeric(19, 9) NOT NULL CHECK (rate > 0),   -- units of the currency for one unit of the base currency
    first_seen timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (currency, published)
);
