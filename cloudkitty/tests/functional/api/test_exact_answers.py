"""What is pushed is answered to the last digit, by every database and every report."""

import json
from decimal import Decimal

import pytest
import webob

from cloudkitty.api import app
from cloudkitty.storage.v2 import sql

QUANTITY, PRICE = '12345678901234567890.123456789', '0.0000000000000000000000000001'
FRAME = """{{"dataframes": [{{
    "period": {{"begin": "2019-03-01T00:00:00", "end": "2019-03-01T01:00:00"}},
    "usage": {{"volume": [{{
        "vol": {{"unit": "GiB", "qty": {qty}}}, "rating": {{"price": {price}}},
        "groupby": {{"project_id": "p1", "id": "v"}}, "metadata": {{}}}}]}}}}]}}"""
# A whole month from the sums, and a part of a day from the points.
WINDOWS = (
    'begin=2019-03-01T00:00:00&end=2019-04-01T00:00:00',
    'begin=2019-03-01T00:00:00&end=2019-03-01T05:00:00',
)


@pytest.fixture
def ask(any_database, any_conf):
    """Asks the application over each kind of database; numbers of the answer are decimals."""
    any_conf.set_override('auth_strategy', 'noauth')
    store = sql.SQLStorage(any_conf)
    application = app.build(any_conf, database=any_database, storage=store)

    def get(path, body=None):
        request = webob.Request.blank(path)
        if body is not None:
            request.method, request.body = 'POST', body.encode()
            request.content_type = 'application/json'
        answer = request.get_response(application)
        assert answer.status_int in (200, 204), answer.text
        return json.loads(answer.text, parse_float=Decimal) if answer.text else None

    yield get
    store.database.close()


@pytest.mark.parametrize('form', ['{}', '"{}"'])
def test_every_digit_survives(ask, form):
    """Numbers are sent as numbers or as text."""
    ask('/v2/dataframes', FRAME.format(qty=form.format(QUANTITY), price=form.format(PRICE)))

    for window in WINDOWS:
        for groups in ('', '&groupby=type', '&groupby=id', '&groupby=time'):
            found = ask(f'/v2/summary?{window}{groups}')
            (row,) = (
                dict(zip(found['columns'], values, strict=True)) for values in found['results']
            )
            assert (row['qty'], row['rate']) == (Decimal(QUANTITY), Decimal(PRICE)), groups
        (frame,) = ask(f'/v2/dataframes?{window}')['dataframes']
        (point,) = frame['usage']['volume']
        assert point['vol']['qty'] == Decimal(QUANTITY)
        assert point['rating']['price'] == Decimal(PRICE)
        assert Decimal(ask(f'/v1/report/total?all_tenants=true&{window}')) == Decimal(PRICE)
        (frame,) = ask(f'/v1/storage/dataframes?{window}')['dataframes']
        assert [Decimal(frame['resources'][0][name]) for name in ('volume', 'rating')] == [
            Decimal(QUANTITY),
            Decimal(PRICE),
        ]
