# The date and the time of day: -m time.
#
# Source: time_mt (xt_time.c), Linux 6.18; the calendar is the Gregorian one, in UTC.
# Invariants: time is the engine's own plus its epoch, whole seconds.
# Differs from the kernel: --kerneltz finds UTC, as a kernel that nobody told a time zone.
from libc.stdint cimport uint32_t, uint64_t
from ..types cimport *

cdef enum:
    DAY = 86400
    # of 400 years, and of the days from 1 March 0000 to 1 January 1970
    ERA_DAYS = 146097
    TO_1970 = 719468
    ALL_MONTHDAYS = 0xfffffffe


cdef inline uint32_t weekday(uint64_t days) noexcept nogil:
    # weekday: of days since 1970, which began with a Thursday. => 1 Monday to 7 Sunday.
    return <uint32_t>((days + 3) % 7) + 1


cdef inline uint32_t monthday(uint64_t days) noexcept nogil:
    # monthday: of days since 1970: 1 to 31. Years are counted from March, so that the leap day is the last of its year.
    cdef uint32_t of_era = <uint32_t>((days + TO_1970) % ERA_DAYS)
    cdef uint32_t year = (of_era - of_era // 1460 + of_era // 36524 - of_era // (ERA_DAYS - 1)) // 365
    cdef uint32_t of_year = of_era - (365 * year + year // 4 - year // 100)
    # March to July and August to December have 153 days each
    cdef uint32_t month = (5 * of_year + 2) // 153
    return of_year - (153 * month + 2) // 5 + 1


cdef inline bint time_holds(const engine_t *e, const match_t *m) noexcept nogil:
    # time_holds: the packet comes within the dates, the time of day, and on one of the days (time_mt).
    cdef const target_t *said = &e.targets[m.time.at]
    cdef uint64_t now = (e.epoch + e.now) // FN_HZ
    cdef uint32_t of_day = <uint32_t>(now % DAY)
    # dates are whole moments and bound the rule at both ends; only the time of day may go round
    if not said.period.date_start <= now <= said.period.date_stop:
        return False
    if said.period.day_start < said.period.day_stop:
        if not said.period.day_start <= of_day <= said.period.day_stop:
            return False
    else:
        # the time of day goes on over midnight
        if said.period.day_stop < of_day < said.period.day_start:
            return False
        # and behind midnight it is still that of the day before
        if m.bits & TIME_CONTIGUOUS and of_day <= said.period.day_stop:
            now -= DAY
    if not (m.bits >> weekday(now // DAY)) & 1:
        return False
    return m.time.monthdays == ALL_MONTHDAYS or (m.time.monthdays >> monthday(now // DAY)) & 1
