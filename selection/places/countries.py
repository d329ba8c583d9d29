"""Where the people of each country live, and on which continent: for visitors of whom the country alone is known. Pure.

A position stands for a whole country: the mean of its towns, weighted by the people in them. The middle of the area
would put a Canadian 2,000 km from nearly all Canadians. Continents are as GeoNames has them.

Worked out from the towns of GeoNames (https://www.geonames.org, CC BY 4.0); what has no towns stands at its stations.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Country(NamedTuple):
    """A country's continent, and the position that stands for all of it."""

    continent: str
    latitude: float
    longitude: float


# Country, continent, latitude, longitude.
_TABLE: Final = """
AD EU 42.5 1.5; AE AS 25.0 55.2; AF AS 34.7 68.0; AG NA 17.1 -61.8; AI NA 18.2 -63.1; AL EU 41.1 19.8;
AM AS 40.2 44.5; AO AF -9.8 14.2; AQ AN -77.8 166.7; AR SA -33.0 -61.3; AS OC -14.3 -170.7; AT EU 47.9 15.5;
AU OC -34.0 145.1; AW NA 12.5 -70.0; AX EU 60.1 19.9; AZ AS 40.4 49.0; BA EU 44.2 18.0; BB NA 13.1 -59.6;
BD AS 23.7 90.4; BE EU 50.9 4.4; BF AF 12.2 -2.1; BG EU 42.7 24.9; BH AS 26.2 50.6; BI AF -3.3 29.5;
BJ AF 7.6 2.3; BL NA 17.9 -62.8; BM NA 32.3 -64.8; BN AS 4.8 114.7; BO SA -17.4 -65.8; BQ NA 12.2 -68.3;
BR SA -17.6 -45.8; BS NA 25.4 -77.7; BT AS 27.3 89.7; BV AN -54.4 3.4; BW AF -23.4 26.0; BY EU 53.6 27.8;
BZ NA 17.5 -88.4; CA NA 48.1 -87.6; CC AS -12.2 96.8; CD AF -4.7 20.2; CF AF 4.9 18.3; CG AF -4.0 14.2;
CH EU 47.1 8.0; CI AF 6.2 -4.9; CK OC -21.2 -159.8; CL SA -33.7 -71.2; CM AF 5.4 11.2; CN AS 32.2 114.4;
CO SA 5.9 -74.9; CR NA 10.0 -84.1; CU NA 22.2 -80.2; CV AF 15.7 -23.9; CW NA 12.1 -68.9; CX OC -10.4 105.7;
CY EU 35.0 33.3; CZ EU 49.9 15.4; DE EU 51.3 9.6; DJ AF 11.6 43.1; DK EU 55.8 11.4; DM NA 15.3 -61.4;
DO NA 18.8 -70.1; DZ AF 35.7 3.5; EC SA -1.4 -79.3; EE EU 59.3 25.2; EG AF 29.8 31.2; EH AF 26.0 -14.2;
ER AF 15.2 38.8; ES EU 39.8 -3.0; ET AF 9.3 39.0; FI EU 61.3 24.9; FJ OC -17.9 178.2; FK SA -51.7 -57.9;
FM OC 6.9 158.2; FO EU 62.0 -6.8; FR EU 47.3 2.9; GA AF -0.1 10.2; GB EU 52.5 -1.3; GD NA 12.1 -61.8;
GE AS 41.8 43.9; GF SA 5.0 -52.6; GG EU 49.5 -2.5; GH AF 6.4 -1.0; GI EU 36.1 -5.4; GL NA 64.2 -51.7;
GM AF 13.4 -16.6; GN AF 9.8 -12.8; GP NA 16.2 -61.5; GQ AF 2.7 9.5; GR EU 38.7 23.4; GS AN -54.3 -36.5;
GT NA 14.7 -90.7; GU OC 13.5 144.8; GW AF 11.9 -15.5; GY SA 6.6 -58.1; HK AS 22.3 114.2; HM AN -53.1 73.5;
HN NA 14.9 -87.4; HR EU 45.3 16.2; HT NA 18.8 -72.5; HU EU 47.4 19.2; ID AS -4.8 109.5; IE EU 53.1 -6.9;
IL AS 32.1 35.0; IM EU 54.2 -4.5; IN AS 21.1 78.3; IO AS -7.3 72.4; IQ AS 33.7 44.8; IR AS 34.5 51.6;
IS EU 64.2 -21.7; IT EU 42.8 12.1; JE EU 49.2 -2.1; JM NA 18.0 -76.9; JO AS 32.0 36.0; JP AS 35.6 137.2;
KE AF -1.0 36.8; KG AS 41.9 73.9; KH AS 11.7 104.7; KI OC 1.3 173.0; KM AF -11.9 43.6; KN NA 17.3 -62.7;
KP AS 39.5 126.5; KR AS 36.6 127.5; KW AS 29.2 48.1; KY NA 19.3 -81.4; KZ AS 47.5 70.3; LA AS 18.0 103.2;
LB AS 33.9 35.5; LC NA 14.0 -61.0; LI EU 47.1 9.5; LK AS 7.3 80.2; LR AF 6.4 -10.4; LS AF -29.4 27.7;
LT EU 55.0 24.2; LU EU 49.6 6.1; LV EU 56.9 24.1; LY AF 32.0 15.5; MA AF 33.4 -6.7; MC EU 43.7 7.4;
MD EU 47.1 28.8; ME EU 42.5 19.2; MF NA 18.1 -63.1; MG AF -18.9 47.5; MH OC 7.1 171.4; MK EU 41.8 21.5;
ML AF 13.0 -7.2; MM AS 18.7 96.2; MN AS 48.0 105.4; MO AS 22.2 113.5; MP OC 15.2 145.8; MQ NA 14.6 -61.0;
MR AF 18.0 -14.6; MS NA 16.8 -62.2; MT EU 35.9 14.5; MU AF -20.2 57.5; MV AS 4.2 73.5; MW AF -14.2 34.3;
MX NA 21.7 -100.5; MY AS 3.5 103.3; MZ AF -19.9 35.4; NA AF -21.4 17.2; NC OC -22.3 166.5; NE AF 14.1 5.0;
NF OC -29.1 168.0; NG AF 7.9 5.9; NI NA 12.3 -86.2; NL EU 52.1 5.2; NO EU 60.5 9.5; NP AS 27.7 84.7;
NR OC -0.6 166.9; NU OC -19.1 -169.9; NZ OC -38.9 174.6; OM AS 23.3 57.7; PA NA 9.0 -79.8; PE SA -11.2 -76.4;
PF OC -17.6 -149.6; PG OC -7.7 147.4; PH AS 12.4 122.3; PK AS 30.3 71.4; PL EU 51.8 19.3; PM NA 46.8 -56.2;
PN OC -25.1 -130.1; PR NA 18.3 -66.2; PS AS 31.7 34.8; PT EU 39.4 -9.1; PW OC 7.5 134.6; PY SA -25.3 -57.2;
QA AS 25.3 51.5; RE AF -21.1 55.5; RO EU 45.4 25.5; RS EU 44.5 20.6; RU EU 56.9 50.8; RW AF -2.0 29.8;
SA AS 23.8 43.0; SB OC -9.4 160.0; SC AF -4.6 55.5; SD AF 14.7 31.6; SE EU 58.9 15.9; SG AS 1.3 103.8;
SH AF -15.9 -5.7; SI EU 46.2 14.8; SJ EU 78.2 15.6; SK EU 48.6 18.7; SL AF 8.4 -12.4; SM EU 43.9 12.4;
SN AF 14.7 -16.7; SO AF 4.9 45.0; SR SA 5.8 -55.2; SS AF 6.6 29.9; ST AF 0.3 6.7; SV NA 13.7 -89.1;
SX NA 18.0 -63.0; SY AS 35.1 37.2; SZ AF -26.4 31.3; TC NA 21.7 -72.1; TD AF 11.5 16.6; TF AN -49.3 70.2;
TG AF 6.8 1.2; TH AS 13.7 100.7; TJ AS 39.1 69.4; TK OC -8.9 -172.1; TL OC -8.7 125.6; TM AS 38.8 59.4;
TN AF 35.9 10.2; TO OC -21.1 -175.2; TR AS 39.6 32.1; TT NA 10.5 -61.4; TV OC -8.5 179.2; TW AS 24.4 121.1;
TZ AF -5.9 36.1; UA EU 49.1 32.9; UG AF 0.6 32.2; UM OC 19.3 166.6; US NA 38.8 -93.5; UY SA -34.1 -56.3;
UZ AS 40.7 68.5; VA EU 41.9 12.5; VC NA 13.1 -61.2; VE SA 9.8 -67.8; VG NA 18.4 -64.6; VI NA 17.9 -64.8;
VN AS 15.2 106.5; VU OC -17.7 168.3; WF OC -13.3 -176.2; WS OC -13.8 -171.8; XK EU 42.6 20.9; YE AS 14.4 44.6;
YT AF -12.8 45.2; ZA AF -28.4 27.0; ZM AF -13.9 28.4; ZW AF -18.6 30.5
"""

_COUNTRIES: Final = {
    code: Country(continent, float(latitude), float(longitude))
    for code, continent, latitude, longitude in (entry.split() for entry in _TABLE.split(";"))
}

COUNTRY_CODES: Final = tuple(_COUNTRIES)


def country_of(code: str) -> Country | None:
    """Give what is known of a country by its ISO 3166-1 alpha-2 code; None for what is no country."""
    return _COUNTRIES.get(code)
