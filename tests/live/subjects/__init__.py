"""The questions, by subject. Importing this package registers them."""

from live.subjects import (  # noqa: F401
    account,
    cloudformation,
    cloudtrail,
    data_cells_filters,
    denied,
    events,
    glue,
    grants,
    lf_tags,
    links_and_views,
    listings,
    partitions,
    s3,
)
