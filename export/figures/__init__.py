"""What a model reaches and what it must not be used for: float beside int8 (`parity`), the limits of referral (`referral`),
evaluations of others trained in the same way (`evidence`); and where people read it: the `card` and the `report`.
"""
