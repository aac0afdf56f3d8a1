"""The readers by name of the store, and their options."""

from oslo_config import cfg

from cloudkitty.storage import former
from cloudkitty.storage.former import elasticsearch, influxdb, influxdb2, loki

READERS: dict[str, type[former.Reader]] = {
    former.INFLUXDB: influxdb.InfluxDBReader,
    former.ELASTICSEARCH: elasticsearch.ElasticsearchReader,
    former.OPENSEARCH: elasticsearch.OpenSearchReader,
    former.LOKI: loki.LokiReader,
}
# Section of the configuration to options.
GROUPS: dict[str, list[cfg.Opt]] = {reader.GROUP: reader.OPTS for reader in READERS.values()}


def get_reader(conf: cfg.ConfigOpts, name: str) -> former.Reader:
    """Return the reader of the store *name*.

    :raises ConfigurationError: its options are wrong.
    """
    reader = READERS[name](conf)
    if name == former.INFLUXDB and reader.options.version == influxdb2.VERSION:
        return influxdb2.InfluxDB2Reader(conf)
    return reader
