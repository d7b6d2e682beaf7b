#include "server/base/pem.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <memory>

namespace mayfly {
namespace {

using Bio = std::unique_ptr<BIO, void (*)(BIO*)>;
using Certificate = std::unique_ptr<X509, void (*)(X509*)>;
using Key = std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)>;

Bio Read(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), BIO_free_all);
}

// A server must not ask its terminal.
int NoPassword(char*, int, int, void*) {
  return -1;
}

Certificate ReadCertificate(const std::string& text) {
  return Certificate(PEM_read_bio_X509(Read(text).get(), nullptr, NoPassword, nullptr), X509_free);
}

absl::Status Check(const std::string& cert, const std::string& key, const std::string& authorities) {
  const Certificate certificate = ReadCertificate(cert);
  if (certificate == nullptr) return absl::InvalidArgumentError("the certificate's file holds none in PEM form");
  const Key private_key(PEM_read_bio_PrivateKey(Read(key).get(), nullptr, NoPassword, nullptr), EVP_PKEY_free);
  if (private_key == nullptr) {
    return absl::InvalidArgumentError("the key's file holds none in PEM form, or one with a password");
  }
  if (X509_check_private_key(certificate.get(), private_key.get()) != 1) {
    return absl::InvalidArgumentError("the key is not that of the certificate");
  }
  if (!authorities.empty() && ReadCertificate(authorities) == nullptr) {
    return absl::InvalidArgumentError("the file of the clients' authority holds no certificate in PEM form");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckTlsPem(const std::string& cert, const std::string& key, const std::string& authorities) {
  absl::Status status = Check(cert, key, authorities);
  // gRPC looks into the same queue of errors.
  ERR_clear_error();
  return status;
}

}  // namespace mayfly
